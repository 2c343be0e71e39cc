#include <algorithm>

#include "phalanx/train/sample_source.h"

namespace phalanx {
namespace {

void append_sample(HostBatch& host, std::span<const int64_t> tokens, std::span<const uint8_t> mask,
                   const DocumentRules& rules) {
  const size_t length = mask.size();
  int64_t position = 0;
  int64_t document = 0;
  for (size_t i = 0; i < length; ++i) {
    const bool ends_document = rules.eod >= 0 && tokens[i] == rules.eod;
    host.tokens.push_back(tokens[i]);
    host.labels.push_back(tokens[i + 1]);
    host.label_mask.push_back(rules.mask_loss && ends_document ? 0 : mask[i]);
    host.position.push_back(position);
    if (rules.reset_attention) host.document.push_back(document);
    // The end token still belongs to the document that it ends.
    ++position;
    if (ends_document) {
      ++document;
      if (rules.reset_positions) position = 0;
    }
  }
}

}  // namespace

std::vector<HostBatch> build_micro_batches(const SampleSource& source, int64_t first, int64_t count,
                                           int64_t micro_batch_size, int64_t seq_length,
                                           const DocumentRules& rules) {
  std::vector<int64_t> tokens(static_cast<size_t>(seq_length) + 1);
  std::vector<uint8_t> mask(static_cast<size_t>(seq_length));
  std::vector<HostBatch> result;
  for (int64_t begin = 0; begin < count; begin += micro_batch_size) {
    HostBatch host;
    host.first_sample = begin;
    host.num_samples = std::min(micro_batch_size, count - begin);
    for (int64_t i = 0; i < host.num_samples; ++i) {
      std::fill(mask.begin(), mask.end(), uint8_t{1});
      source.read(first + begin + i, tokens, mask);
      append_sample(host, tokens, mask, rules);
    }
    result.push_back(std::move(host));
  }
  return result;
}

}  // namespace phalanx
