#include "phalanx/data/text_blocks.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "phalanx/data/jsonl_reader.h"

namespace phalanx {
namespace {

constexpr std::string_view kMark = "\xEF\xBB\xBF";
constexpr size_t kDropSize = size_t{1} << 18;

}  // namespace

void TextBuffer::reserve(size_t capacity) {
  if (capacity <= capacity_) return;
  auto larger = std::make_unique_for_overwrite<char[]>(capacity + JsonlReader::kPadding);
  if (size_ > 0) std::memcpy(larger.get(), data_.get(), size_);
  data_ = std::move(larger);
  capacity_ = capacity;
}

void TextBuffer::append(std::string_view text) {
  reserve(size_ + text.size());
  if (!text.empty()) std::memcpy(end(), text.data(), text.size());
  size_ += text.size();
}

TextBlocks::TextBlocks(const TextFile& file, const BlockLimits& limits)
    : stream_(open_byte_stream(file.path)), format_(file.format), limits_(limits) {
  // Many small files in flight should not hold a whole block each; packed text grows perhaps tenfold.
  const size_t most = static_cast<size_t>(file.size) * 16 + 4096;
  limits_.block_bytes = std::min(limits_.block_bytes, most);
}

TextBlock TextBlocks::next() {
  TextBlock block = format_ == TextFormat::kJsonLines ? next_lines() : whole_document();
  block.unpacked += block.text.size();
  block.consumed = stream_->consumed();
  block.last = ended_ && carry_.empty();
  if (!started_) drop_mark(block.text);
  started_ = true;
  // The padding is read by parsers, never used.
  if (block.text.size() > 0) std::memset(block.text.end(), ' ', JsonlReader::kPadding);
  return block;
}

bool TextBlocks::fill(TextBuffer& buffer, size_t target) {
  buffer.reserve(target);
  const size_t wanted = target - buffer.size();
  const size_t got = stream_->read(buffer.end(), wanted);
  buffer.resize(buffer.size() + got);
  return got == wanted;
}

TextBlock TextBlocks::next_lines() {
  TextBlock block;
  block.text.reserve(std::max(limits_.block_bytes, carry_.size()));
  block.text.append(carry_);
  carry_.clear();
  size_t target = std::max(limits_.block_bytes, block.text.size() + 1);
  size_t searched = 0;
  while (!ended_) {
    ended_ = !fill(block.text, target);
    const std::string_view text = block.text.text();
    const size_t line_end = text.substr(searched).rfind('\n');
    if (ended_) break;
    if (line_end != std::string_view::npos) {
      carry_ = text.substr(searched + line_end + 1);
      block.text.resize(searched + line_end + 1);
      break;
    }
    searched = text.size();
    if (searched > limits_.max_bytes) {
      drop_line(block);
      break;
    }
    target = std::min(2 * searched, std::max(limits_.max_bytes, searched) + 1);
  }
  return block;
}

void TextBlocks::drop_line(TextBlock& block) {
  block.too_long = true;
  block.unpacked = block.text.size();
  block.text = TextBuffer();
  std::vector<char> chunk(kDropSize);
  while (!ended_) {
    const size_t got = stream_->read(chunk.data(), chunk.size());
    ended_ = got < chunk.size();
    const std::string_view text(chunk.data(), got);
    const size_t line_end = text.find('\n');
    block.unpacked += std::min(got, line_end);
    if (line_end == std::string_view::npos) continue;
    block.unpacked += 1;
    carry_ = text.substr(line_end + 1);
    return;
  }
}

TextBlock TextBlocks::whole_document() {
  TextBlock block;
  size_t target = std::min(limits_.block_bytes, limits_.max_bytes + 1);
  while (fill(block.text, target)) {
    if (block.text.size() > limits_.max_bytes) {
      block.too_long = true;
      block.unpacked = block.text.size();
      block.text = TextBuffer();
      std::vector<char> chunk(kDropSize);
      while (const size_t got = stream_->read(chunk.data(), chunk.size())) block.unpacked += got;
      break;
    }
    target = std::min(2 * block.text.size(), limits_.max_bytes + 1);
  }
  ended_ = true;
  return block;
}

void TextBlocks::drop_mark(TextBuffer& buffer) {
  if (format_ != TextFormat::kJsonLines || !buffer.text().starts_with(kMark)) return;
  const std::string rest(buffer.text().substr(kMark.size()));
  buffer.resize(0);
  buffer.append(rest);
}

}  // namespace phalanx
