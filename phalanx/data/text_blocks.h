// File: phalanx/data/text_blocks.h
//
// Purpose: a text file as blocks of a few hundred kilobytes to hand out to threads: whole lines, or one document.
// Contract: blocks come in the order of the file and together hold all of it. A block never cuts a line; a line longer
//   than a block makes that block larger, up to max_bytes. What is longer is read and dropped: its block is empty and
//   `too_long`. The last block of a file says so and may be empty. A byte order mark in front is dropped.
// Units: bytes.
// Example: TextBlocks blocks(file, limits); do { block = blocks.next(); ... } while (!block.last);
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "phalanx/data/byte_stream.h"
#include "phalanx/data/text_source.h"

namespace phalanx {

// Bytes with readable ones behind them, as fast parsers want; never filled with zeros first.
class TextBuffer {
 public:
  void reserve(size_t capacity);  // keeps what is there
  void append(std::string_view text);
  char* end() { return data_.get() + size_; }
  size_t room() const { return capacity_ - size_; }
  void resize(size_t size) { size_ = size; }  // within the capacity
  size_t size() const { return size_; }
  std::string_view text() const { return {data_.get(), size_}; }

 private:
  std::unique_ptr<char[]> data_;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

struct TextBlock {
  TextBuffer text;
  uint64_t consumed = 0;  // of the file, with this block
  uint64_t unpacked = 0;  // bytes of text in this block, dropped ones included
  bool too_long = false;
  bool last = false;
};

struct BlockLimits {
  size_t block_bytes = size_t{1} << 20;
  size_t max_bytes = size_t{1} << 30;
};

class TextBlocks {
 public:
  TextBlocks(const TextFile& file, const BlockLimits& limits);
  TextBlock next();

 private:
  TextBlock next_lines();
  TextBlock whole_document();
  bool fill(TextBuffer& buffer, size_t target);  // false at the end of the file
  void drop_line(TextBlock& block);
  void drop_mark(TextBuffer& buffer);

  std::unique_ptr<ByteStream> stream_;
  TextFormat format_;
  BlockLimits limits_;
  std::string carry_;  // read, but of the next block
  bool ended_ = false;
  bool started_ = false;
};

}  // namespace phalanx
