// File: phalanx/data/byte_stream.h
//
// Purpose: the bytes of a file from front to back, unpacked on the way where it is gzip or zstd.
// Contract: the packing is told by the first bytes, not by the name. Gzip of several members and zstd of several frames
//   (as `cat a.gz b.gz` makes) are read to the end. Memory is one buffer, whatever the size of the file.
// Errors: a missing file, a folder or a failing disk is Error(kIo); packed data that ends early or is damaged is
//   Error(kBadInput) with the path and the position.
// Units: bytes.
// Source: RFC 1952 (gzip), RFC 8878 (zstd).
// Example: auto s = open_byte_stream("a.jsonl.zst"); while (size_t n = s->read(buffer, sizeof buffer)) ...
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace phalanx {

class ByteStream {
 public:
  virtual ~ByteStream() = default;
  // Fills `out` with `size` bytes, fewer only at the end.
  virtual size_t read(char* out, size_t size) = 0;
  // Bytes of the file that were needed so far, packed as they are.
  virtual uint64_t consumed() const = 0;
};

std::unique_ptr<ByteStream> open_byte_stream(const std::string& path);

// As the bytes are on disk, whatever they look like.
std::unique_ptr<ByteStream> open_raw_stream(const std::string& path);

}  // namespace phalanx
