#include "phalanx/data/indexed_writer.h"

#include <cstring>
#include <limits>

#include <fmt/format.h>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

constexpr size_t kBufferSize = size_t{1} << 20;
constexpr int64_t kMaxLength = std::numeric_limits<int32_t>::max();

template <typename T>
void append_value(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

template <typename Stored, typename T>
void narrow(std::span<const T> tokens, std::byte* out) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    const auto value = static_cast<Stored>(tokens[i]);
    std::memcpy(out + i * sizeof(Stored), &value, sizeof(Stored));
  }
}

}  // namespace

IndexedDatasetWriter::IndexedDatasetWriter(const std::string& prefix, TokenDtype dtype)
    : prefix_(dataset_prefix(prefix)), dtype_(dtype), bin_(prefix_ + ".bin") {
  PHALANX_CHECK(holds_token_ids(dtype), "a float dtype for tokens");
}

void IndexedDatasetWriter::put(std::span<const std::byte> bytes) {
  const char* begin = reinterpret_cast<const char*>(bytes.data());
  buffer_.insert(buffer_.end(), begin, begin + bytes.size());
  if (buffer_.size() >= kBufferSize) flush();
}

void IndexedDatasetWriter::flush() {
  bin_.write(buffer_.data(), buffer_.size());
  buffer_.clear();
}

template <typename T>
void IndexedDatasetWriter::add(std::span<const T> tokens) {
  if (static_cast<int64_t>(tokens.size()) > kMaxLength) {
    throw Error(ErrorKind::kBadInput, {.where = prefix_,
                                       .got = fmt::format("a sequence of {} tokens", tokens.size()),
                                       .needed = "at most 2147483647",
                                       .fix = "cut the document into several"});
  }
  for (const T token : tokens) {
    const auto value = static_cast<int64_t>(token);
    if (value >= smallest_token(dtype_) && value <= largest_token(dtype_)) continue;
    throw Error(ErrorKind::kBadInput, {.where = fmt::format("{}: sequence {}", prefix_, lengths_.size()),
                                       .got = fmt::format("token id {}", value),
                                       .needed = fmt::format("{} to {} for {}", smallest_token(dtype_),
                                                             largest_token(dtype_), token_dtype_name(dtype_)),
                                       .fix = "write a wider dtype or use the tokenizer of this vocabulary"});
  }
  scratch_.resize(tokens.size() * static_cast<size_t>(token_dtype_size(dtype_)));
  switch (
      token_dtype_size(dtype_)) {  // the low bytes of a two's complement number are the same, signed or not
    case 1:
      narrow<uint8_t>(tokens, scratch_.data());
      break;
    case 2:
      narrow<uint16_t>(tokens, scratch_.data());
      break;
    case 4:
      narrow<uint32_t>(tokens, scratch_.data());
      break;
    default:
      narrow<uint64_t>(tokens, scratch_.data());
      break;
  }
  put(scratch_);
  lengths_.push_back(static_cast<int32_t>(tokens.size()));
}

void IndexedDatasetWriter::add_sequence(std::span<const int32_t> tokens) {
  add(tokens);
}
void IndexedDatasetWriter::add_sequence(std::span<const int64_t> tokens) {
  add(tokens);
}

void IndexedDatasetWriter::end_document() {
  documents_.push_back(num_sequences());
}

void IndexedDatasetWriter::append(const IndexedDataset& other) {
  PHALANX_CHECK(documents_.back() == num_sequences(), "end_document() before append()");
  if (other.dtype() != dtype_) {
    throw Error(ErrorKind::kBadInput,
                {.where = other.prefix(),
                 .got = fmt::format("tokens of {}", token_dtype_name(other.dtype())),
                 .needed = fmt::format("{}, as in {}", token_dtype_name(dtype_), prefix_),
                 .fix = "merge data sets of one dtype; tokenize again with the same vocabulary"});
  }
  const int64_t shift = num_sequences();
  for (int64_t i = 0; i < other.num_sequences(); ++i) {
    put(other.sequence_bytes(i));
    lengths_.push_back(static_cast<int32_t>(other.length(i)));
  }
  for (int64_t d = 1; d <= other.num_documents(); ++d) documents_.push_back(shift + other.document_begin(d));
}

void IndexedDatasetWriter::commit() {
  PHALANX_CHECK(documents_.back() == num_sequences(), "end_document() after the last sequence");
  flush();
  AtomicFile idx(prefix_ + ".idx");
  std::string bytes("MMIDIDX\0\0", 9);
  const auto spill = [&](size_t limit) {
    if (bytes.size() < limit) return;
    idx.write(bytes.data(), bytes.size());
    bytes.clear();
  };
  append_value(bytes, uint64_t{1});
  append_value(bytes, static_cast<uint8_t>(dtype_));
  append_value(bytes, static_cast<uint64_t>(lengths_.size()));
  append_value(bytes, static_cast<uint64_t>(documents_.size()));
  for (const int32_t length : lengths_) {
    append_value(bytes, length);
    spill(kBufferSize);
  }
  int64_t offset = 0;
  for (const int32_t length : lengths_) {
    append_value(bytes, offset);
    offset += length * token_dtype_size(dtype_);
    spill(kBufferSize);
  }
  for (const int64_t document : documents_) {
    append_value(bytes, document);
    spill(kBufferSize);
  }
  spill(1);
  bin_.commit();
  idx.commit();
}

}  // namespace phalanx
