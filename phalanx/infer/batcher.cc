#include "phalanx/infer/batcher.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "phalanx/base/error.h"
#include "phalanx/infer/rank_step.h"

namespace phalanx {
namespace {

// Minus infinity is a probability of 0; anything else that is not finite has no meaning.
void check_logits(std::span<const float> logits, int64_t position) {
  for (const float x : logits) {
    if (std::isnan(x) || x == std::numeric_limits<float>::infinity()) {
      throw_not_finite("generate", std::isnan(x) ? "a logit that is NaN" : "an infinite logit", position);
    }
  }
}

int64_t choose(const Tensor& logits, size_t sequence, int64_t length, const GenerateOptions& options) {
  const Tensor row = logits.to(at::kCPU, at::kFloat).contiguous();
  const int64_t candidates = std::min(row.numel(), options.vocab_limit.value_or(row.numel()));
  const std::span<const float> choice(row.const_data_ptr<float>(), static_cast<size_t>(candidates));
  check_logits(choice, length);
  const RandomKey key{.seed = options.sampling.seed, .purpose = RandomPurpose::kSampling, .step = length};
  return sample_token(choice, options.sampling, philox_uniform(key, sequence));
}

// One prompt and what came after it.
struct Sequence {
  size_t place = 0;
  int64_t slot = 0;
  int64_t length = 0;            // rows in the cache
  std::vector<int64_t> pending;  // tokens that are not there yet
};

// Rows of a step: some of each member's pending tokens.
struct Rows {
  std::vector<int64_t> tokens;
  std::vector<int64_t> positions;
  std::vector<int64_t> slots;
  std::vector<int64_t> last;      // row of the last token of a member whose pending tokens are all in
  std::vector<Sequence*> chosen;  // that member
};

class Run {
 public:
  Run(Model& model, std::span<const std::vector<int64_t>> prompts, const GenerateOptions& options,
      const BatchLimits& limits, const OnToken& on_token, RankGroups* groups)
      : model_(model),
        prompts_(prompts),
        options_(options),
        limits_(limits),
        on_token_(on_token),
        groups_(groups),
        chooses_(groups == nullptr || groups->rank() == choosing_rank(groups->mesh())),
        cache_(model.make_cache()),
        made_(prompts.size()) {}

  std::vector<std::vector<int64_t>> all() {
    while (true) {
      while (static_cast<int64_t>(running_.size()) < limits_.sequences && next_ < prompts_.size()) admit();
      if (running_.empty()) return std::move(made_);
      const bool reads_prompts =
          std::ranges::any_of(running_, [](const Sequence& s) { return s.pending.size() > 1; });
      Rows rows = reads_prompts ? prompt_rows() : decode_rows();
      const Tensor logits = step(rows);
      take(rows, logits);
    }
  }

 private:
  void admit() {
    const std::vector<int64_t>& prompt = prompts_[next_];
    if (options_.max_tokens > 0) {
      running_.push_back({.place = next_, .slot = cache_.new_slot(), .length = 0, .pending = prompt});
    }
    ++next_;
  }

  void append(Sequence& sequence, int64_t count, Rows& rows) const {
    const auto begin = sequence.pending.begin();
    for (int64_t i = 0; i < count; ++i) {
      rows.tokens.push_back(begin[i]);
      rows.positions.push_back(sequence.length++);
      rows.slots.push_back(sequence.slot);
    }
    sequence.pending.erase(begin, begin + count);
    if (!sequence.pending.empty()) return;
    rows.last.push_back(static_cast<int64_t>(rows.tokens.size()) - 1);
    rows.chosen.push_back(&sequence);
  }

  Rows prompt_rows() {
    Rows rows;
    for (Sequence& sequence : running_) {
      const int64_t room = limits_.prefill_rows - static_cast<int64_t>(rows.tokens.size());
      const auto pending = static_cast<int64_t>(sequence.pending.size());
      // A prompt of one token has no token made after it yet; it may go with either kind of step.
      if (room > 0 && pending > 1) append(sequence, std::min(room, pending), rows);
    }
    return rows;
  }

  Rows decode_rows() {
    Rows rows;
    for (Sequence& sequence : running_) append(sequence, 1, rows);
    return rows;
  }

  Tensor step(const Rows& rows) {
    const auto column = [this](const std::vector<int64_t>& values) {
      return at::tensor(values, at::TensorOptions(at::kLong)).to(model_.device());
    };
    Batch batch;
    batch.num_samples = 1;
    batch.seq_length = 1 + *std::ranges::max_element(rows.positions);
    batch.tokens = column(rows.tokens);
    batch.position = column(rows.positions);
    batch.token_id = batch.position;
    batch.slot = at::tensor(rows.slots, at::TensorOptions(at::kLong));
    batch.logit_rows = column(rows.last);
    if (chooses_ && !warned_ && beyond_rotary_positions(model_.config(), batch.seq_length)) {
      warn_beyond_rotary_positions(model_.config());
      warned_ = true;
    }
    Side side;
    return groups_ == nullptr ? model_.step(batch, side, cache_)
                              : step_on_ranks(model_, batch, cache_, *groups_);
  }

  // A token for each chosen sequence; those that end leave.
  void take(const Rows& rows, const Tensor& logits) {
    std::vector<Choice> choices(rows.chosen.size());
    for (size_t i = 0; chooses_ && i < choices.size(); ++i) {
      const Sequence& sequence = *rows.chosen[i];
      choices[i].token = choose(logits[static_cast<int64_t>(i)], sequence.place, sequence.length, options_);
      choices[i].go_on = on_token_(sequence.place, choices[i].token);
    }
    if (groups_ != nullptr) share_choices(choices, *groups_);
    const std::optional<int64_t> limit = position_limit(model_.config());
    std::vector<int64_t> ended;
    for (size_t i = 0; i < choices.size(); ++i) {
      Sequence& sequence = *rows.chosen[i];
      std::vector<int64_t>& made = made_[sequence.place];
      made.push_back(choices[i].token);
      sequence.pending = {choices[i].token};
      const bool full = static_cast<int64_t>(made.size()) >= options_.max_tokens;
      const bool ends = !choices[i].go_on || options_.ends(choices[i].token);
      if (full || ends || (limit && sequence.length >= *limit)) ended.push_back(sequence.slot);
    }
    for (const int64_t slot : ended) {
      cache_.free_slot(slot);
      std::erase_if(running_, [slot](const Sequence& s) { return s.slot == slot; });
    }
  }

  Model& model_;
  std::span<const std::vector<int64_t>> prompts_;
  const GenerateOptions& options_;
  const BatchLimits& limits_;
  const OnToken& on_token_;
  RankGroups* groups_;
  bool chooses_;
  Cache cache_;
  std::vector<std::vector<int64_t>> made_;
  std::vector<Sequence> running_;
  size_t next_ = 0;  // prompt that waits
  bool warned_ = false;
};

}  // namespace

std::vector<std::vector<int64_t>> generate_all(Model& model, std::span<const std::vector<int64_t>> prompts,
                                               const GenerateOptions& options, const BatchLimits& limits,
                                               const OnToken& on_token, RankGroups* groups) {
  const c10::NoGradGuard no_grad;
  validate(options.sampling);
  PHALANX_CHECK(limits.sequences > 0 && limits.prefill_rows > 0, "a step has rows");
  PHALANX_CHECK(options.vocab_limit.value_or(1) > 0, "at least one id can be sampled");
  for (size_t i = 0; i < prompts.size(); ++i) {
    const std::string where = prompts.size() == 1 ? "--prompt" : "prompt " + std::to_string(i);
    if (prompts[i].empty()) {
      throw Error(ErrorKind::kBadInput,
                  {.where = where, .got = "no token", .needed = "at least one", .fix = "give a text"});
    }
    check_tokens(model.config(), prompts[i], where);
  }
  return Run(model, prompts, options, limits, on_token, groups).all();
}

}  // namespace phalanx
