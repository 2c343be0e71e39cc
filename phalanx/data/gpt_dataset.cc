#include "phalanx/data/gpt_dataset.h"

#include <algorithm>
#include <array>
#include <limits>

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/shard/checksum.h"

namespace phalanx {
namespace {

constexpr const char* kCacheKind = "gpt";

// Whatever enters the indices; the first line changes when their meaning does.
std::string key_of(std::span<const int32_t> lengths, const SequenceRange& range, const GptIndexOptions& o) {
  return fmt::format(
      "gpt index 1\nsequences {} to {}\nlengths {:016x}\nnum_samples {}\nseq_length {}\nextra_tokens {}\n"
      "seed {}\ndrop_last_partial {}\n",
      range.begin, range.end, checksum_of(std::as_bytes(lengths)),
      o.num_samples ? std::to_string(*o.num_samples) : "one epoch", o.seq_length, o.extra_tokens, o.seed,
      o.drop_last_partial);
}

GptIndex index_of_parts(const IndexCache::Parts& parts) {
  PHALANX_CHECK(parts.size() == 4, "epochs and three indices");
  const auto epochs = index_part_as<int64_t>(parts[0]);
  GptIndex index{.num_epochs = epochs[0], .separate_final_epoch = epochs[1] != 0};
  index.documents = index_part_as<int32_t>(parts[1]);
  index.samples = index_part_as<SampleRow>(parts[2]);
  index.shuffle = index_part_as<uint32_t>(parts[3]);
  PHALANX_CHECK(index.samples.size() == index.shuffle.size() + 1, "a row more than samples");
  return index;
}

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
  const GptIndexOptions options{.num_samples = o.num_samples,
                                .seq_length = o.seq_length,
                                .seed = o.seed,
                                .drop_last_partial = o.drop_last_partial,
                                .threads = o.threads};
  const bool cached = o.cache != nullptr && o.cache->active();
  const std::string key = cached ? key_of(lengths, range, options) : "";
  if (cached) {
    const auto parts = o.cache->find(kCacheKind, key);
    if (parts) return index_of_parts(*parts);
  }
  const std::string where = fmt::format("{}, sequences {} to {}", tokens.prefix(), range.begin, range.end);
  const GptIndex index = build_gpt_index(lengths, static_cast<int32_t>(range.begin), options, where);
  if (!cached) return index;
  const std::array<int64_t, 2> epochs = {index.num_epochs, index.separate_final_epoch ? 1 : 0};
  const auto kept = o.cache->keep(kCacheKind, key,
                                  {std::as_bytes(std::span(epochs)), std::as_bytes(index.documents.span()),
                                   std::as_bytes(index.samples.span()), std::as_bytes(index.shuffle.span())});
  return kept ? index_of_parts(*kept) : index;
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
  const size_t row = index_.shuffle[static_cast<size_t>(sample)];
  PHALANX_CHECK(row + 1 < index_.samples.size(), "a row of the sample index");
  const SampleRow first = index_.samples[row];
  const SampleRow last = index_.samples[row + 1];
  PHALANX_CHECK(last.position < index_.documents.size(), "a place in the document index");
  size_t filled = 0;
  for (size_t at = first.position; at <= last.position; ++at) {
    const int64_t sequence = index_.documents[at];
    const int64_t begin = at == first.position ? std::max(first.offset, 0) : 0;
    const int64_t end = at == last.position ? last.offset + 1 : tokens_->length(sequence);
    if (begin >= end) continue;
    PHALANX_CHECK(end - begin <= static_cast<int64_t>(tokens.size() - filled), "at most S + 1 tokens");
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
