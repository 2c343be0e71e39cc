#include "phalanx/data/corpus_report.h"

#include <algorithm>
#include <bit>

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/telemetry/human.h"
#include "phalanx/tokenizer/stream_decoder.h"

namespace phalanx {
namespace {

constexpr int kBarWidth = 40;

int64_t document_length(const IndexedDataset& data, int64_t document) {
  int64_t length = 0;
  for (int64_t s = data.document_begin(document); s < data.document_begin(document + 1); ++s)
    length += data.length(s);
  return length;
}

}  // namespace

CorpusLengths measure_lengths(const IndexedDataset& data) {
  CorpusLengths out;
  const int64_t n = data.num_documents();
  if (n == 0) return out;
  std::vector<int64_t> lengths(static_cast<size_t>(n));
  std::vector<LengthBucket> buckets(65);
  for (int64_t d = 0; d < n; ++d) {
    const int64_t length = document_length(data, d);
    lengths[static_cast<size_t>(d)] = length;
    LengthBucket& bucket = buckets[static_cast<size_t>(std::bit_width(static_cast<uint64_t>(length)))];
    ++bucket.documents;
    bucket.tokens += length;
  }
  for (size_t i = 1; i < buckets.size() - 1; ++i) {
    buckets[i].low = int64_t{1} << (i - 1);
    buckets[i].high = static_cast<int64_t>((uint64_t{1} << i) - 1);
  }
  const auto used = [](const LengthBucket& bucket) { return bucket.documents > 0; };
  const auto first = std::find_if(buckets.begin(), buckets.end(), used);
  const auto last = std::find_if(buckets.rbegin(), buckets.rend(), used).base();
  out.histogram.assign(first, last);
  out.empty_documents = buckets[0].documents;
  out.mean = static_cast<double>(data.num_tokens()) / static_cast<double>(n);
  const auto middle = lengths.begin() + (n - 1) / 2;
  std::nth_element(lengths.begin(), middle, lengths.end());
  out.median = *middle;
  out.shortest = *std::min_element(lengths.begin(), lengths.end());
  out.longest = *std::max_element(lengths.begin(), lengths.end());
  return out;
}

std::string histogram_text(const CorpusLengths& lengths) {
  int64_t most = 1;
  int64_t total = 0;
  for (const LengthBucket& bucket : lengths.histogram) {
    most = std::max(most, bucket.documents);
    total += bucket.documents;
  }
  std::string out;
  for (const LengthBucket& bucket : lengths.histogram) {
    const auto share = static_cast<double>(bucket.documents) / static_cast<double>(total);
    // A bucket that is used shows at least one mark.
    const int64_t width = (bucket.documents * kBarWidth + most - 1) / most;
    const std::string range = bucket.low == bucket.high ? fmt::format("{}", bucket.low)
                                                        : fmt::format("{}-{}", bucket.low, bucket.high);
    out += fmt::format("{:>21} {:>12} {:>6}  {}\n", range, bucket.documents, human_percent(share),
                       std::string(static_cast<size_t>(width), '#'));
  }
  return out;
}

std::vector<int64_t> document_tokens(const IndexedDataset& data, int64_t document, int64_t limit) {
  if (document < 0 || document >= data.num_documents()) {
    throw Error(ErrorKind::kBadInput, {.where = data.prefix(),
                                       .got = fmt::format("document {}", document),
                                       .needed = fmt::format("one below {}", data.num_documents()),
                                       .fix = "ask for fewer documents"});
  }
  std::vector<int64_t> tokens;
  for (int64_t s = data.document_begin(document); s < data.document_begin(document + 1); ++s) {
    const auto have = static_cast<int64_t>(tokens.size());
    const int64_t take = limit < 0 ? data.length(s) : std::min(data.length(s), limit - have);
    tokens.resize(static_cast<size_t>(have + take));
    data.read(s, 0, std::span(tokens).subspan(static_cast<size_t>(have)));
  }
  return tokens;
}

std::string document_text(const IndexedDataset& data, int64_t document, const Tokenizer& tokenizer,
                          int64_t limit) {
  std::vector<int32_t> ids;
  for (const int64_t token : document_tokens(data, document, limit)) {
    if (token < 0 || token >= tokenizer.vocab_size()) {
      throw Error(ErrorKind::kBadInput, {.where = fmt::format("{}: document {}", data.prefix(), document),
                                         .got = fmt::format("token id {}", token),
                                         .needed = fmt::format("ids below {}, the vocabulary of {}",
                                                               tokenizer.vocab_size(), tokenizer.name()),
                                         .fix = "name the tokenizer that made this data set"});
    }
    ids.push_back(static_cast<int32_t>(token));
  }
  std::string text = valid_utf8(tokenizer.decode(ids));
  if (document_length(data, document) > static_cast<int64_t>(ids.size())) text += "...";
  return text;
}

}  // namespace phalanx
