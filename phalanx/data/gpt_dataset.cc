#include "phalanx/data/gpt_dataset.h"

#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

GptIndex index_of(const IndexedDataset& tokens, const GptDatasetOptions& o) {
  const SequenceRange range = o.sequences;
  PHALANX_CHECK(0 <= range.begin && range.begin <= range.end && range.end <= tokens.num_sequences(),
                fmt::format("sequences {} to {} of {}", range.begin, range.end, tokens.prefix()));
  if (range.end > std::numeric_limits<int32_t>::max()) {
    throw Error(ErrorKind::kBadInput, {.where = tokens.prefix(),
                                       .got = fmt::format("{} sequences", tokens.num_sequences()),
                                       .needed = "at most 2147483647",
                                       .fix = "cut the data set into several"});
  }
  std::vector<int32_t> lengths;
  lengths.reserve(static_cast<size_t>(range.end - range.begin));
  for (int64_t i = range.begin; i < range.end; ++i) lengths.push_back(static_cast<int32_t>(tokens.length(i)));
  return build_gpt_index(lengths, static_cast<int32_t>(range.begin),
                         {.num_samples = o.num_samples,
                          .seq_length = o.seq_length,
                          .seed = o.seed,
                          .drop_last_partial = o.drop_last_partial},
                         fmt::format("{}, sequences {} to {}", tokens.prefix(), range.begin, range.end));
}

}  // namespace

GptDataset::GptDataset(std::shared_ptr<const IndexedDataset> tokens, const GptDatasetOptions& options)
    : tokens_(std::move(tokens)), options_(options), index_(index_of(*tokens_, options)) {}

void GptDataset::check_vocabulary(int64_t sequence, int64_t offset, std::span<const int64_t> tokens) const {
  if (options_.vocab_size == 0) return;
  const auto bad = std::find_if(tokens.begin(), tokens.end(),
                                [this](int64_t id) { return id < 0 || id >= options_.vocab_size; });
  if (bad == tokens.end()) return;
  throw Error(ErrorKind::kBadInput,
              {.where = fmt::format("{}.bin: sequence {}, token {}", tokens_->prefix(), sequence,
                                    offset + (bad - tokens.begin())),
               .got = fmt::format("token id {}", *bad),
               .needed = fmt::format("0 to {}, the vocabulary of the model", options_.vocab_size - 1),
               .fix = "set model.vocab_size to that of the tokenizer that made the data"});
}

void GptDataset::read(int64_t sample, std::span<int64_t> tokens, std::span<uint8_t> label_mask,
                      std::vector<int64_t>* starts) const {
  PHALANX_CHECK(sample >= 0 && sample < num_samples(), fmt::format("sample {} of {}", sample, num_samples()));
  PHALANX_CHECK(static_cast<int64_t>(tokens.size()) == options_.seq_length + 1, "S + 1 tokens");
  PHALANX_CHECK(static_cast<int64_t>(label_mask.size()) == options_.seq_length, "S label masks");
  if (starts != nullptr) starts->clear();
  const auto row = static_cast<size_t>(index_.shuffle[static_cast<size_t>(sample)]);
  const SampleIndex& s = index_.samples;
  size_t filled = 0;
  for (int64_t at = s.positions[row]; at <= s.positions[row + 1]; ++at) {
    const int64_t sequence = index_.documents[static_cast<size_t>(at)];
    const int64_t begin = at == s.positions[row] ? std::max(s.offsets[row], 0) : 0;
    const int64_t end = at == s.positions[row + 1] ? s.offsets[row + 1] + 1 : tokens_->length(sequence);
    if (begin >= end) continue;
    const std::span<int64_t> piece = tokens.subspan(filled, static_cast<size_t>(end - begin));
    tokens_->read(sequence, begin, piece);
    check_vocabulary(sequence, begin, piece);
    if (starts != nullptr) starts->push_back(static_cast<int64_t>(filled));
    filled += piece.size();
  }
  std::fill(tokens.begin() + static_cast<int64_t>(filled), tokens.end(), 0);
  for (size_t i = 0; i < label_mask.size(); ++i) label_mask[i] = i + 1 < filled ? 1 : 0;
}

}  // namespace phalanx
