#include "phalanx/data/indexed_writer.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <limits>

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/data/byte_stream.h"

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

template <typename T>
void check_ids(std::span<const T> ids, TokenDtype dtype, const std::string& where) {
  // Without a way out of the loop it runs many ids at a time.
  T low = 0;
  T high = 0;
  for (const T id : ids) {
    low = std::min(low, id);
    high = std::max(high, id);
  }
  if (static_cast<int64_t>(low) >= smallest_token(dtype) &&
      static_cast<int64_t>(high) <= largest_token(dtype))
    return;
  throw Error(
      ErrorKind::kBadInput,
      {.where = where,
       .got = fmt::format("token id {}", static_cast<int64_t>(low) < smallest_token(dtype) ? low : high),
       .needed = fmt::format("{} to {} for {}", smallest_token(dtype), largest_token(dtype),
                             token_dtype_name(dtype)),
       .fix = "write a wider dtype or use the tokenizer of this vocabulary"});
}

}  // namespace

template <typename T>
void pack_tokens(std::span<const T> ids, TokenDtype dtype, const std::string& where,
                 std::vector<std::byte>& out) {
  check_ids(ids, dtype, where);
  const size_t begin = out.size();
  out.resize(begin + ids.size() * static_cast<size_t>(token_dtype_size(dtype)));
  // The low bytes of a two's complement number are the same, signed or not.
  switch (token_dtype_size(dtype)) {
    case 1:
      return narrow<uint8_t>(ids, out.data() + begin);
    case 2:
      return narrow<uint16_t>(ids, out.data() + begin);
    case 4:
      return narrow<uint32_t>(ids, out.data() + begin);
    default:
      return narrow<uint64_t>(ids, out.data() + begin);
  }
}

template void pack_tokens(std::span<const int32_t>, TokenDtype, const std::string&, std::vector<std::byte>&);
template void pack_tokens(std::span<const int64_t>, TokenDtype, const std::string&, std::vector<std::byte>&);

void remove_index(const std::string& prefix) {
  const std::string path = prefix + ".idx";
  std::error_code error;
  std::filesystem::remove(path, error);
  if (error) {
    throw Error(ErrorKind::kIo, {.where = path,
                                 .got = "remove failed: " + error.message(),
                                 .needed = "to replace it",
                                 .fix = "check the permissions of its folder"});
  }
}

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
  bin_sum_.update(std::as_bytes(std::span(buffer_)));
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
  scratch_.clear();
  pack_tokens(tokens, dtype_, fmt::format("{}: sequence {}", prefix_, lengths_.size()), scratch_);
  put(scratch_);
  lengths_.push_back(static_cast<int32_t>(tokens.size()));
  num_tokens_ += static_cast<int64_t>(tokens.size());
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

void IndexedDatasetWriter::add_packed(const PackedDocuments& documents) {
  PHALANX_CHECK(documents_.back() == num_sequences(), "end_document() before add_packed()");
  put(documents.tokens);
  lengths_.insert(lengths_.end(), documents.lengths.begin(), documents.lengths.end());
  for (const int32_t sequences : documents.documents) documents_.push_back(documents_.back() + sequences);
  num_tokens_ += static_cast<int64_t>(documents.tokens.size()) / token_dtype_size(dtype_);
  PHALANX_CHECK(documents_.back() == num_sequences(), "documents that hold all sequences");
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
  // Read, not mapped: the pages of a large file would stay in memory until its end.
  const auto bin = open_raw_stream(other.prefix() + ".bin");
  std::vector<std::byte> chunk(kBufferSize);
  while (const size_t n = bin->read(reinterpret_cast<char*>(chunk.data()), chunk.size()))
    put(std::span(chunk).first(n));
  const int64_t shift = num_sequences();
  for (int64_t i = 0; i < other.num_sequences(); ++i)
    lengths_.push_back(static_cast<int32_t>(other.length(i)));
  for (int64_t d = 1; d <= other.num_documents(); ++d) documents_.push_back(shift + other.document_begin(d));
  num_tokens_ += other.num_tokens();
}

uint64_t IndexedDatasetWriter::write_index(AtomicFile& idx) const {
  Checksum sum;
  std::string bytes("MMIDIDX\0\0", 9);
  const auto spill = [&](size_t limit) {
    if (bytes.size() < limit) return;
    idx.write(bytes.data(), bytes.size());
    sum.update(std::as_bytes(std::span(bytes)));
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
  return sum.digest();
}

PairChecksums IndexedDatasetWriter::commit() {
  PHALANX_CHECK(documents_.back() == num_sequences(), "end_document() after the last sequence");
  flush();
  AtomicFile idx(prefix_ + ".idx");
  const uint64_t idx_sum = write_index(idx);
  remove_index(prefix_);
  bin_.commit();
  idx.commit();
  return {.bin = bin_sum_.digest(), .idx = idx_sum};
}

}  // namespace phalanx
