#include "phalanx/infer/generate.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "phalanx/base/error.h"
#include "phalanx/base/log.h"
#include "phalanx/engine/executor.h"
#include "phalanx/infer/batcher.h"
#include "phalanx/infer/rank_step.h"
#include "phalanx/pipeline/generate.h"

namespace phalanx {
namespace {

// Texts on their way through a pipeline at a time: what waits between two stages is bounded, and few bubbles are seen.
constexpr size_t kTextsInFlight = 32;

// Rows `tokens` of one sequence whose first row stands at index `first`.
Batch rows_of(std::span<const int64_t> tokens, int64_t first, int64_t seq_length, const Model& model) {
  const auto options = at::TensorOptions(at::kLong);
  Batch batch;
  batch.num_samples = 1;
  batch.seq_length = seq_length;
  batch.tokens = at::tensor(at::ArrayRef<int64_t>(tokens.data(), tokens.size()), options).to(model.device());
  batch.position =
      at::arange(first, first + static_cast<int64_t>(tokens.size()), options.device(model.device()));
  batch.token_id = batch.position;
  return batch;
}

// All tokens but the last, to predict all but the first.
Batch score_batch(std::span<const int64_t> tokens, const Model& model) {
  const size_t rows = tokens.size() - 1;
  Batch batch = rows_of(tokens.first(rows), 0, static_cast<int64_t>(rows), model);
  batch.labels = at::tensor(at::ArrayRef<int64_t>(tokens.data() + 1, rows), at::TensorOptions(at::kLong))
                     .to(model.device());
  return batch;
}

std::vector<double> log_probabilities(const Tensor& model_nll, const std::string& where) {
  const Tensor nll = model_nll.to(at::kCPU, at::kDouble).contiguous();
  std::vector<double> result(static_cast<size_t>(nll.numel()));
  const double* data = nll.data_ptr<double>();
  std::transform(data, data + nll.numel(), result.begin(), [](double x) { return -x; });
  const auto bad = std::find_if_not(result.begin(), result.end(), [](double x) { return std::isfinite(x); });
  if (bad != result.end()) {
    throw_not_finite(where,
                     std::isnan(*bad) ? "a log probability that is NaN" : "an infinite log probability",
                     bad - result.begin() + 1);
  }
  return result;
}

}  // namespace

void throw_not_finite(const std::string& where, const std::string& got, int64_t position) {
  throw Error(
      ErrorKind::kNumeric,
      {.where = where + ", position " + std::to_string(position),
       .got = got,
       .needed = "finite numbers",
       .fix = "phalanx checkpoint verify PATH says which weights are not finite; if none are, use a wider "
              "--dtype"});
}

bool GenerateOptions::ends(int64_t token) const {
  return std::find(end_tokens.begin(), end_tokens.end(), token) != end_tokens.end();
}

void check_tokens(const ModelConfig& config, std::span<const int64_t> tokens, const std::string& where) {
  for (const int64_t token : tokens) {
    if (token < 0 || token >= config.vocab_size) {
      throw Error(ErrorKind::kBadInput, {.where = where,
                                         .got = "id " + std::to_string(token),
                                         .needed = "ids from 0 to " + std::to_string(config.vocab_size - 1),
                                         .fix = "use the tokenizer that the model was trained with"});
    }
  }
  const std::optional<int64_t> limit = position_limit(config);
  if (limit && static_cast<int64_t>(tokens.size()) > *limit) {
    throw Error(ErrorKind::kBadInput,
                {.where = where,
                 .got = std::to_string(tokens.size()) + " tokens",
                 .needed = "at most " + std::to_string(*limit) + ", the model's positions",
                 .fix = "shorten the text"});
  }
}

bool beyond_rotary_positions(const ModelConfig& config, int64_t length) {
  return config.position_embedding == PositionKind::kRope && length > config.max_position_embeddings;
}

void warn_beyond_rotary_positions(const ModelConfig& config) {
  log_warning("the text is longer than the " + std::to_string(config.max_position_embeddings) +
              " positions that the model was made for; what comes after them may be poor");
}

std::optional<int64_t> position_limit(const ModelConfig& config) {
  if (config.position_embedding != PositionKind::kLearnedAbsolute) return std::nullopt;
  return config.max_position_embeddings;
}

std::vector<int64_t> generate(Model& model, std::span<const int64_t> prompt, const GenerateOptions& options,
                              const std::function<bool(int64_t)>& on_token, RankGroups* groups) {
  const std::vector<std::vector<int64_t>> prompts = {{prompt.begin(), prompt.end()}};
  return generate_all(
      model, prompts, options, {}, [&](size_t, int64_t token) { return on_token(token); }, groups)[0];
}

std::vector<double> score(Model& model, std::span<const int64_t> tokens, const std::string& where) {
  const c10::NoGradGuard no_grad;
  check_tokens(model.config(), tokens, where);
  if (tokens.size() < 2) return {};
  Side side;
  Stash none = Stash::null();
  return log_probabilities(model.forward(score_batch(tokens, model), side, none), where);
}

std::vector<std::vector<double>> score(Model& model, std::span<const ScoreText> texts, RankGroups& groups) {
  const c10::NoGradGuard no_grad;
  for (const ScoreText& text : texts) check_tokens(model.config(), text.tokens, text.where);
  const bool returns = groups.rank() == choosing_rank(groups.mesh());
  const int stages = groups.mesh().size("pp");
  const ExecutorGroups executor{.pipeline = stages > 1 ? &groups.pipeline() : nullptr,
                                .tensor = &groups.tensor()};
  std::vector<std::vector<double>> results(returns ? texts.size() : 0);
  for (size_t begin = 0; begin < texts.size();) {
    std::vector<size_t> members;
    std::vector<Batch> batches;
    for (; begin < texts.size() && batches.size() < kTextsInFlight; ++begin) {
      if (texts[begin].tokens.size() < 2) continue;
      members.push_back(begin);
      batches.push_back(score_batch(texts[begin].tokens, model));
    }
    if (batches.empty()) break;
    const Schedule schedule = make_schedule(
        {.pp = stages, .micro_batches = static_cast<int>(batches.size()), .forward_only = true});
    const ExecutorResult result = run_schedule(model, schedule, executor, batches);
    for (size_t i = 0; returns && i < members.size(); ++i) {
      results[members[i]] = log_probabilities(result.nll[i], texts[members[i]].where);
    }
  }
  return results;
}

}  // namespace phalanx
