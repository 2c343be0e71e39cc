#include "phalanx/data/packed_tasks.h"

#include <algorithm>

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/base/philox.h"
#include "phalanx/data/recall_config.h"

namespace phalanx {
namespace {

constexpr int64_t kIndicesOfASample = 65537;
constexpr int64_t kProbes = 32;

}  // namespace

PackedTasks::PackedTasks(const Tokenizer& tokenizer, PackedTasksOptions options)
    : tokenizer_(tokenizer), options_(std::move(options)) {
  PHALANX_CHECK(!options_.tasks.empty() && options_.seq_length > 0 && options_.num_samples >= 0,
                "tasks for samples of tokens");
  if (!tokenizer_.eod()) {
    bad_input(options_.where, fmt::format("{} without a token that ends a document", tokenizer_.name()),
              "one, as texts are packed with it between them", "set data.eod_token or use another tokenizer");
  }
  eod_ = *tokenizer_.eod();
  if (options_.num_samples > kMaxPackedTasks) {
    bad_input(options_.where, fmt::format("{} samples", options_.num_samples),
              fmt::format("at most {}", kMaxPackedTasks), "ask for fewer samples");
  }
  double sum = 0;
  for (const RecallTaskSpec& task : options_.tasks) shares_.push_back(sum += task.weight);
  for (double& share : shares_) share /= sum;
  check_lengths();
}

PackedTasks::Encoded PackedTasks::encode(const RecallTaskSpec& spec, int64_t index) const {
  Encoded text;
  for (const TaskSegment& segment : make_recall_sample(spec, options_.stream, index).segments) {
    const std::vector<int32_t> ids = tokenizer_.encode(segment.text);
    text.tokens.insert(text.tokens.end(), ids.begin(), ids.end());
    text.counts.resize(text.tokens.size(), segment.counts_in_loss ? 1 : 0);
  }
  text.tokens.push_back(eod_);
  text.counts.push_back(spec.loss_on_all ? 1 : 0);
  return text;
}

const RecallTaskSpec& PackedTasks::task_of(int64_t index) const {
  const RandomKey key{
      .seed = options_.stream.seed, .purpose = RandomPurpose::kRecallChoice, .layer = options_.stream.part};
  const double drawn = philox_u32(key, static_cast<uint64_t>(index)) * 0x1.0p-32;
  const auto at = std::upper_bound(shares_.begin(), shares_.end() - 1, drawn);
  return options_.tasks[static_cast<size_t>(at - shares_.begin())];
}

int64_t PackedTasks::longest(const RecallTaskSpec& spec, int64_t entries) const {
  RecallTaskSpec fixed = spec;
  fixed.min_entries = fixed.max_entries = entries;
  size_t most = 0;
  for (int64_t i = 0; i < kProbes; ++i) most = std::max(most, encode(fixed, i).tokens.size());
  return static_cast<int64_t>(most) - 1;
}

void PackedTasks::check_lengths() const {
  for (size_t i = 0; i < options_.tasks.size(); ++i) {
    const RecallTaskSpec& spec = options_.tasks[i];
    const int64_t length = longest(spec, spec.max_entries);
    if (length <= options_.seq_length) continue;
    int64_t fits = 0, too_many = spec.max_entries;
    const int64_t fewest = fewest_entries(spec.task, spec.questions);
    if (longest(spec, fewest) <= options_.seq_length) fits = fewest;
    while (fits > 0 && too_many - fits > 1) {
      const int64_t middle = (fits + too_many) / 2;
      (longest(spec, middle) <= options_.seq_length ? fits : too_many) = middle;
    }
    const std::string_view key = recall_size_key(spec.task);
    bad_input(fmt::format("{}, entry {}", options_.where, i + 1),
              fmt::format("{} of {} {}: {} tokens, {} more than a sample holds", recall_task_name(spec.task),
                          spec.max_entries, key, length, length - options_.seq_length),
              fmt::format("at most model.seq_length, {}", options_.seq_length),
              fits > 0 ? fmt::format("{} of at most {}, or model.seq_length={}", key, fits, length)
                       : fmt::format("model.seq_length={}, or fewer questions", length));
  }
}

void PackedTasks::read(int64_t sample, std::span<int64_t> tokens, std::span<uint8_t> label_mask,
                       std::vector<int64_t>* starts) const {
  PHALANX_CHECK(sample >= 0 && sample < num_samples(), fmt::format("sample {} of {}", sample, num_samples()));
  PHALANX_CHECK(static_cast<int64_t>(label_mask.size()) == options_.seq_length &&
                    tokens.size() == label_mask.size() + 1,
                "S + 1 tokens and S label masks");
  std::fill(tokens.begin(), tokens.end(), eod_);
  std::fill(label_mask.begin(), label_mask.end(), uint8_t{0});
  std::vector<int64_t> begins;
  size_t at = 0;
  for (int64_t i = 0; i < kIndicesOfASample && at < tokens.size(); ++i) {
    const int64_t index = sample * kIndicesOfASample + i;
    const Encoded text = encode(task_of(index), index);
    if (text.tokens.size() > tokens.size()) continue;  // alone too long
    if (text.tokens.size() > tokens.size() - at) break;
    begins.push_back(static_cast<int64_t>(at));
    for (size_t p = 0; p < text.tokens.size(); ++p, ++at) {
      tokens[at] = text.tokens[p];
      if (at > 0) label_mask[at - 1] = text.counts[p];
    }
  }
  if (at < tokens.size()) begins.push_back(static_cast<int64_t>(at));
  if (starts != nullptr) *starts = std::move(begins);
}

}  // namespace phalanx
