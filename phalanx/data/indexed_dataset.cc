#include "phalanx/data/indexed_dataset.h"

#include <cstring>
#include <limits>

#include <fmt/format.h>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

constexpr std::string_view kMagic("MMIDIDX\0\0", 9);
constexpr uint64_t kHeaderSize = 34;
constexpr const char* kRebuild = "the file is damaged; build the .bin/.idx pair again";

[[noreturn]] void fail(const std::string& where, const std::string& got, const std::string& needed,
                       const std::string& fix = kRebuild) {
  throw Error(ErrorKind::kBadInput, {.where = where, .got = got, .needed = needed, .fix = fix});
}

// 34 is no multiple of 4: nothing in the file is aligned.
template <typename T>
T load(std::span<const std::byte> bytes, uint64_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

uint64_t lengths_at(uint64_t sequence) {
  return kHeaderSize + 4 * sequence;
}
uint64_t offsets_at(uint64_t n, uint64_t sequence) {
  return kHeaderSize + 4 * n + 8 * sequence;
}
uint64_t documents_at(uint64_t n, uint64_t document) {
  return kHeaderSize + 12 * n + 8 * document;
}

TokenDtype check_header(std::span<const std::byte> idx, const std::string& path) {
  if (idx.size() < kHeaderSize) {
    fail(path, fmt::format("a file of {} bytes", idx.size()), "at least the 34 bytes of the header",
         "the file is empty or cut short; build the .bin/.idx pair again");
  }
  if (std::memcmp(idx.data(), kMagic.data(), kMagic.size()) != 0) {
    const bool old = std::memcmp(idx.data(), "TNTIDX", 6) == 0;
    fail(path, old ? "an index of the older TNTIDX kind" : "a file of another kind",
         "a file that starts with MMIDIDX",
         old ? "build the .bin/.idx pair again with a current tool"
             : "name the prefix of a Megatron .bin/.idx pair");
  }
  const auto version = load<uint64_t>(idx, 9);
  if (version != 1) {
    fail(path, fmt::format("index version {}", version), "version 1",
         version > 1 ? "a newer program wrote it; use a newer phalanx" : kRebuild);
  }
  const auto code = load<uint8_t>(idx, 17);
  const std::optional<TokenDtype> dtype = token_dtype_of_code(code);
  if (!dtype) fail(path, fmt::format("dtype code {}", code), "a code from 1 to 8");
  if (!holds_token_ids(*dtype)) {
    fail(path, fmt::format("{} elements (dtype code {})", token_dtype_name(*dtype), code),
         "whole numbers: token ids", "name a file of tokens");
  }
  return *dtype;
}

// n and d against the size of the file, before anything is read by them.
void check_counts(uint64_t size, uint64_t n, uint64_t d, const std::string& path) {
  const uint64_t room = size - kHeaderSize;
  if (n > room / 12 || d > (room - 12 * n) / 8) {
    fail(path, fmt::format("{} bytes for {} sequences and {} document indices", size, n, d),
         "34 + 12 a sequence + 8 a document index",
         "the file is cut short or damaged; build the .bin/.idx pair again");
  }
  const uint64_t rest = room - 12 * n - 8 * d;
  if (n == 0) fail(path, "no sequences", "at least one", "tokenize a corpus that is not empty");
  if (rest == n) {
    fail(path, fmt::format("{} mode bytes at its end: a multimodal data set", n), "a data set of text",
         "name a data set of text");
  }
  if (rest > 0)
    fail(path, fmt::format("{} bytes after its end", rest), "34 + 12 a sequence + 8 a document index");
}

int64_t count_tokens(std::span<const std::byte> idx, uint64_t n, const std::string& path) {
  int64_t total = 0;
  for (uint64_t i = 0; i < n; ++i) {
    const auto length = load<int32_t>(idx, lengths_at(i));
    if (length < 0)
      fail(path, fmt::format("length {} of sequence {}", length, i), "a length that is not negative");
    if (__builtin_add_overflow(total, length, &total))
      fail(path, "more than 2^63 tokens", "lengths that add up");
  }
  return total;
}

void check_bin_size(uint64_t bin_size, int64_t tokens, TokenDtype dtype, const std::string& prefix) {
  const int64_t width = token_dtype_size(dtype);
  int64_t promised = 0;
  const bool overflow = __builtin_mul_overflow(tokens, width, &promised);
  if (!overflow && static_cast<uint64_t>(promised) == bin_size) return;
  std::string fix = kRebuild;
  for (const int64_t other : {1, 2, 4, 8}) {
    if (other != width && tokens > 0 &&
        bin_size / static_cast<uint64_t>(other) == static_cast<uint64_t>(tokens) &&
        bin_size % static_cast<uint64_t>(other) == 0) {
      fix = fmt::format(
          "the .bin has {} bytes a token, the .idx says {}: they are of different width; build both again",
          other, width);
    }
  }
  fail(prefix + ".bin", fmt::format("{} bytes", bin_size),
       fmt::format("{} bytes: {} tokens of {}, as the .idx says",
                   overflow ? "more than 2^63" : std::to_string(promised), tokens, token_dtype_name(dtype)),
       fix);
}

void check_offsets(std::span<const std::byte> idx, uint64_t n, int64_t width, const std::string& path) {
  int64_t expected = 0;  // ends at the size of the .bin, which was compared with the lengths
  for (uint64_t i = 0; i < n; ++i) {
    const auto offset = load<int64_t>(idx, offsets_at(n, i));
    if (offset != expected) {
      fail(path, fmt::format("byte offset {} of sequence {}", offset, i),
           fmt::format("{}, the end of the sequence before it", expected));
    }
    expected += load<int32_t>(idx, lengths_at(i)) * width;
  }
}

void check_documents(std::span<const std::byte> idx, uint64_t n, uint64_t d, const std::string& path) {
  if (d == 0) fail(path, "no document index", "at least 0 and the number of sequences");
  int64_t previous = 0;
  for (uint64_t i = 0; i < d; ++i) {
    const auto begin = load<int64_t>(idx, documents_at(n, i));
    if (i == 0 && begin != 0) fail(path, fmt::format("the first document index {}", begin), "0");
    if (begin < previous) {
      fail(path, fmt::format("document index {} after {}", begin, previous), "indices that do not fall");
    }
    previous = begin;
  }
  if (previous != static_cast<int64_t>(n)) {
    fail(path, fmt::format("the last document index {}", previous),
         fmt::format("{}, the number of sequences", n));
  }
}

MappedFile open_part(const std::string& path, const std::string& given) {
  if (!path_exists(path)) {
    throw Error(ErrorKind::kIo, {.where = path,
                                 .got = "no such file",
                                 .needed = "a .bin/.idx pair of the prefix '" + given + "'",
                                 .fix = "check the path (--data-path takes it without .bin or .idx)"});
  }
  return MappedFile(path);
}

template <typename T>
void widen(const std::byte* from, std::span<int64_t> out) {
  for (size_t i = 0; i < out.size(); ++i) {
    T value;
    std::memcpy(&value, from + i * sizeof(T), sizeof(T));
    out[i] = static_cast<int64_t>(value);
  }
}

}  // namespace

IndexLayout check_index(std::span<const std::byte> idx, uint64_t bin_size, const std::string& prefix) {
  const std::string path = prefix + ".idx";
  const TokenDtype dtype = check_header(idx, path);
  const auto n = load<uint64_t>(idx, 18);
  const auto d = load<uint64_t>(idx, 26);
  check_counts(idx.size(), n, d, path);
  const int64_t tokens = count_tokens(idx, n, path);
  check_bin_size(bin_size, tokens, dtype, prefix);
  check_offsets(idx, n, token_dtype_size(dtype), path);
  check_documents(idx, n, d, path);
  return {.dtype = dtype,
          .num_sequences = static_cast<int64_t>(n),
          .num_documents = static_cast<int64_t>(d) - 1,
          .num_tokens = tokens};
}

std::string dataset_prefix(const std::string& path) {
  const bool full = path.size() > 4 && (path.ends_with(".bin") || path.ends_with(".idx"));
  return full ? path.substr(0, path.size() - 4) : path;
}

IndexedDataset::IndexedDataset(const std::string& path)
    : prefix_(dataset_prefix(path)),
      idx_(open_part(prefix_ + ".idx", path)),
      bin_(open_part(prefix_ + ".bin", path)),
      layout_(check_index(idx_.bytes(), bin_.bytes().size(), prefix_)) {}

int64_t IndexedDataset::length(int64_t sequence) const {
  PHALANX_CHECK(sequence >= 0 && sequence < num_sequences(),
                fmt::format("sequence {} of {}", sequence, prefix_));
  return load<int32_t>(idx_.bytes(), lengths_at(static_cast<uint64_t>(sequence)));
}

int64_t IndexedDataset::document_begin(int64_t document) const {
  PHALANX_CHECK(document >= 0 && document <= num_documents(),
                fmt::format("document {} of {}", document, prefix_));
  return load<int64_t>(idx_.bytes(),
                       documents_at(static_cast<uint64_t>(num_sequences()), static_cast<uint64_t>(document)));
}

std::span<const std::byte> IndexedDataset::sequence_bytes(int64_t sequence) const {
  const int64_t size = length(sequence) * token_dtype_size(dtype());
  const auto begin = load<int64_t>(
      idx_.bytes(), offsets_at(static_cast<uint64_t>(num_sequences()), static_cast<uint64_t>(sequence)));
  return bin_.bytes().subspan(static_cast<size_t>(begin), static_cast<size_t>(size));
}

void IndexedDataset::read(int64_t sequence, int64_t offset, std::span<int64_t> out) const {
  const auto count = static_cast<int64_t>(out.size());
  PHALANX_CHECK(
      offset >= 0 && count <= length(sequence) - offset,
      fmt::format("tokens {} to {} of sequence {} of {}", offset, offset + count, sequence, prefix_));
  const std::byte* from = sequence_bytes(sequence).data() + offset * token_dtype_size(dtype());
  switch (dtype()) {
    case TokenDtype::kUint8:
      return widen<uint8_t>(from, out);
    case TokenDtype::kInt8:
      return widen<int8_t>(from, out);
    case TokenDtype::kInt16:
      return widen<int16_t>(from, out);
    case TokenDtype::kInt32:
      return widen<int32_t>(from, out);
    case TokenDtype::kInt64:
      return widen<int64_t>(from, out);
    case TokenDtype::kUint16:
      return widen<uint16_t>(from, out);
    case TokenDtype::kFloat32:
    case TokenDtype::kFloat64:
      break;
  }
  check_failed(__FILE__, __LINE__, "integer dtype", prefix_);
}

}  // namespace phalanx
