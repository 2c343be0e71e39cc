#include <algorithm>

#include "phalanx/train/sample_source.h"

namespace phalanx {
namespace {

// `starts`: where sequences begin, for reset_at_sequences.
void append_sample(HostBatch& host, std::span<const int64_t> tokens, std::span<const uint8_t> mask,
                   std::span<const int64_t> starts, const DocumentRules& rules) {
  const size_t length = mask.size();
  int64_t position = 0;
  int64_t document = 0;
  bool ended = false;  // the token before ends a document; it still belongs to it
  size_t next = 0;
  for (size_t i = 0; i < length; ++i) {
    bool begins = false;
    for (; next < starts.size() && starts[next] <= static_cast<int64_t>(i); ++next) begins = i > 0;
    if ((ended && rules.reset_attention) || begins) ++document;
    if ((ended && rules.reset_positions) || begins) position = 0;
    ended = rules.eod >= 0 && tokens[i] == rules.eod;
    host.tokens.push_back(tokens[i]);
    host.labels.push_back(tokens[i + 1]);
    host.label_mask.push_back(rules.mask_loss && ended ? 0 : mask[i]);
    host.position.push_back(position++);
    if (rules.reset_attention || rules.reset_at_sequences) host.document.push_back(document);
  }
}

}  // namespace

DocumentRules document_rules(const TrainConfig& config, const Tokenizer* tokenizer) {
  return {.eod = tokenizer == nullptr ? -1 : tokenizer->eod().value_or(-1),
          .mask_loss = config.eod_mask_loss,
          .reset_positions = config.reset_position_ids,
          .reset_attention = config.reset_attention_mask,
          .reset_at_sequences = config.reset_at_sequences};
}

std::vector<HostBatch> build_micro_batches(const SampleSource& source, int64_t first, int64_t count,
                                           int64_t micro_batch_size, int64_t seq_length,
                                           const DocumentRules& rules) {
  std::vector<int64_t> tokens(static_cast<size_t>(seq_length) + 1);
  std::vector<uint8_t> mask(static_cast<size_t>(seq_length));
  std::vector<int64_t> starts;
  std::vector<HostBatch> result;
  for (int64_t begin = 0; begin < count; begin += micro_batch_size) {
    HostBatch host;
    host.first_sample = begin;
    host.num_samples = std::min(micro_batch_size, count - begin);
    for (int64_t i = 0; i < host.num_samples; ++i) {
      std::fill(mask.begin(), mask.end(), uint8_t{1});
      if (rules.reset_at_sequences) {
        source.read_packed(first + begin + i, tokens, mask, starts);
      } else {
        source.read(first + begin + i, tokens, mask);
      }
      append_sample(host, tokens, mask, starts, rules);
    }
    result.push_back(std::move(host));
  }
  return result;
}

std::vector<HostBatch> build_step_share(const SampleSource& source, const StepShare& share,
                                        int64_t seq_length, const DocumentRules& rules) {
  const int64_t size = share.micro_batch_size;
  std::vector<HostBatch> mine;
  for (int64_t begin = size * share.data_rank; begin < share.count; begin += size * share.data_size) {
    std::vector<HostBatch> one = build_micro_batches(
        source, share.first + begin, std::min(size, share.count - begin), size, seq_length, rules);
    one[0].first_sample = begin;
    mine.push_back(std::move(one[0]));
  }
  return mine;
}

}  // namespace phalanx
