// File: phalanx/shard/safetensors.h
//
// Purpose: the safetensors format: read (memory-mapped) and written as a stream.
//   uint64 little-endian header length | JSON header, padded with spaces to 8 bytes | data, tensors back to
//   back header: {"__metadata__": {string: string}, "NAME": {"dtype": "F32", "shape": [2, 3], "data_offsets":
//   [0, 24]}}
// Contract: a file is not trusted. Every size is checked against the file before anything is allocated;
// tensors must
//   tile the data exactly (no overlap, no hole, no rest), names are unique. Each fault is Error(kBadInput)
//   with its own text, the path and the tensor. Spans are little-endian bytes, row-major, maybe unaligned for
//   their dtype: copy them. Write wide dtypes first to keep them aligned.
// Units: bytes; offsets count from the start of the data.
// Source: the format description of the safetensors project.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "phalanx/base/fs.h"
#include "phalanx/shard/checksum.h"
#include "phalanx/shard/file_dtype.h"

namespace phalanx {

inline constexpr uint64_t kMaxSafetensorsHeader = 100'000'000;

struct SafetensorsEntry {
  std::string name;
  FileDtype dtype = FileDtype::kF32;
  Shape shape;
  uint64_t begin = 0;
  uint64_t end = 0;
};

using SafetensorsMetadata = std::vector<std::pair<std::string, std::string>>;

struct SafetensorsHeader {
  SafetensorsMetadata metadata;
  std::vector<SafetensorsEntry> entries;  // in header order
  uint64_t data_begin = 0;                // offset of the data in the file
};

// `file` is the whole file; `path` is for messages.
SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file, const std::string& path);

class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::string& path);
  const std::string& path() const { return path_; }
  const SafetensorsHeader& header() const { return header_; }
  const SafetensorsEntry* find(std::string_view name) const;  // null when absent
  const SafetensorsEntry& at(
      std::string_view name) const;  // Error(kBadInput) when absent, with the nearest name
  std::span<const std::byte> bytes(const SafetensorsEntry& entry) const;
  std::span<const std::byte> file_bytes() const { return map_.bytes(); }

 private:
  std::string path_;
  MappedFile map_;
  SafetensorsHeader header_;
  std::unordered_map<std::string_view, size_t> index_;
};

struct SafetensorsDeclaration {
  std::string name;
  FileDtype dtype = FileDtype::kF32;
  Shape shape;
};

// What is known of a file once it is written: goes into the manifest.
struct WrittenFile {
  uint64_t size = 0;
  uint64_t checksum = 0;
};

// Declare all tensors, then write their bytes in that order (a tensor may come in pieces), then commit.
// Nothing appears under `path` before commit.
class SafetensorsWriter {
 public:
  SafetensorsWriter(std::string path, std::vector<SafetensorsDeclaration> tensors,
                    SafetensorsMetadata metadata = {});
  void write(std::string_view name, std::span<const std::byte> bytes);
  WrittenFile commit();

 private:
  void put(std::span<const std::byte> bytes);
  void skip_finished();

  std::vector<SafetensorsEntry> entries_;
  AtomicFile file_;
  Checksum checksum_;
  size_t current_ = 0;     // the tensor being written
  uint64_t position_ = 0;  // bytes of data written
};

}  // namespace phalanx
