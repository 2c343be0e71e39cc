#include "phalanx/tokenizer/sentencepiece_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "phalanx/base/error.h"
#include "phalanx/tokenizer/utf8.h"

namespace phalanx {
namespace {

enum WireType : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

[[noreturn]] void refuse(const std::string& where, std::string got, std::string needed) {
  throw Error(ErrorKind::kBadInput, {.where = where,
                                     .got = std::move(got),
                                     .needed = std::move(needed),
                                     .fix = "give the .model file that SentencePiece wrote"});
}

struct Field {
  uint64_t number = 0;
  uint32_t type = 0;
  uint64_t value = 0;      // of a number, as it is stored
  std::string_view bytes;  // of a text or a message
};

// The fields of one protobuf message, one after the other.
class Message {
 public:
  // offset: where the message begins in the file.
  Message(std::string_view bytes, size_t offset, const std::string& where)
      : bytes_(bytes), offset_(offset), where_(where) {}

  bool next(Field& field) {
    if (at_ == bytes_.size()) return false;
    begin_ = at_;
    const uint64_t tag = read_varint();
    field = {.number = tag >> 3, .type = static_cast<uint32_t>(tag & 7), .value = 0, .bytes = {}};
    if (field.number == 0 || field.number >= 1u << 29) fail("a field without a number");
    switch (field.type) {
      case kVarint:
        field.value = read_varint();
        break;
      case kFixed64:
        field.value = read_fixed(8);
        break;
      case kFixed32:
        field.value = read_fixed(4);
        break;
      case kBytes:
        field.bytes = take(read_varint());
        break;
      default:
        fail(fmt::format("field {} of wire type {}", field.number, field.type));
    }
    return true;
  }

  void expect(const Field& field, WireType type) const {
    if (field.type != type) fail(fmt::format("field {} of wire type {}", field.number, field.type));
  }
  std::string_view text(const Field& field) const {
    expect(field, kBytes);
    return field.bytes;
  }
  bool flag(const Field& field) const {
    expect(field, kVarint);
    return field.value != 0;
  }
  Message message(const Field& field) const {
    expect(field, kBytes);
    return {field.bytes, offset_ + static_cast<size_t>(field.bytes.data() - bytes_.data()), where_};
  }
  [[noreturn]] void fail(const std::string& what) const {
    refuse(where_, fmt::format("{} at byte {}", what, offset_ + begin_), "a SentencePiece model");
  }

 private:
  uint64_t read_varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 70; shift += 7) {
      if (at_ == bytes_.size()) fail("a number that the file ends in");
      const auto byte = static_cast<uint8_t>(bytes_[at_++]);
      if (shift < 64) value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    fail("a number of more than ten bytes");
  }
  uint64_t read_fixed(size_t size) {
    static_assert(std::endian::native == std::endian::little);
    uint64_t value = 0;
    std::memcpy(&value, take(size).data(), size);
    return value;
  }
  std::string_view take(uint64_t size) {
    if (size > bytes_.size() - at_) {
      fail(fmt::format("a field of {} bytes where {} are left", size, bytes_.size() - at_));
    }
    at_ += size;
    return bytes_.substr(at_ - size, size);
  }

  std::string_view bytes_;
  size_t offset_;
  const std::string& where_;
  size_t at_ = 0, begin_ = 0;
};

void read_piece(Message message, SentencePieceModel& model) {
  SentencePieceModel::Piece piece;
  Field field;
  while (message.next(field)) {
    if (field.number == 1) {
      piece.text = message.text(field);
      if (!is_utf8(piece.text) || piece.text.find('\0') != std::string::npos) {
        message.fail(fmt::format("piece {}, which is not UTF-8 without NUL,", model.pieces.size()));
      }
    } else if (field.number == 2) {
      message.expect(field, kFixed32);
      if (!std::isfinite(std::bit_cast<float>(static_cast<uint32_t>(field.value)))) {
        message.fail(fmt::format("a score that is no number for piece {}", model.pieces.size()));
      }
    } else if (field.number == 3) {
      message.expect(field, kVarint);
      if (field.value < 1 || field.value > 6) {
        message.fail(fmt::format("type {} of piece {}", field.value, model.pieces.size()));
      }
      piece.type = static_cast<PieceType>(field.value);
    }
  }
  model.pieces.push_back(std::move(piece));
}

// The double array that maps byte sequences to places in a list of texts, as the library walks it: from unit u, byte c
// leads to unit base(u) ^ c if that one is labelled c, and a unit with a leaf has its value in unit base(u).
class Trie {
 public:
  Trie(std::string_view bytes, std::string_view texts) : units_(bytes.size() / 4), texts_(texts) {
    std::memcpy(units_.data(), bytes.data(), units_.size() * 4);
  }

  // What is wrong with it, or nothing. Every unit is entered once; the stack is ours because files choose its depth.
  const char* problem() const {
    constexpr int kMaxLeaves = 32;  // keys on one path: the library has room for these
    constexpr int kOpen = -1;
    std::vector<int> leaves(units_.size());  // on the best path from the unit down, plus 1; 0: unseen
    std::vector<Step> stack{{0, 0, 0}};
    leaves[0] = kOpen;
    while (!stack.empty()) {
      Step& step = stack.back();
      const uint32_t unit = units_[step.unit];
      const uint32_t base = step.unit ^ ((unit >> 10) << ((unit & 1u << 9) >> 6));
      if (step.next == 0) {
        if ((base | 0xFF) >= units_.size()) return "a step out of its array";
        if (const char* wrong = leaf_problem(unit, base)) return wrong;
      }
      if (step.next == 256) {
        const int found = step.best + static_cast<int>(unit >> 8 & 1);
        if (found > kMaxLeaves) return "more keys on one path than the library has room for";
        leaves[step.unit] = found + 1;
        stack.pop_back();
        if (!stack.empty()) stack.back().best = std::max(stack.back().best, found);
        continue;
      }
      const uint32_t byte = step.next++;
      const uint32_t child = base ^ byte;
      if ((units_[child] & (1u << 31 | 0xFF)) != byte) continue;
      if (leaves[child] == kOpen) return "a path that runs in a circle";
      if (leaves[child] > 0) {
        step.best = std::max(step.best, leaves[child] - 1);
      } else {
        leaves[child] = kOpen;
        stack.push_back({child, 0, 0});
      }
    }
    return nullptr;
  }

 private:
  struct Step {
    uint32_t unit, next;
    int best;
  };

  const char* leaf_problem(uint32_t unit, uint32_t base) const {
    constexpr size_t kLongest = 4096;  // a text of one byte must not become gigabytes
    if ((unit >> 8 & 1) == 0) return nullptr;
    const uint32_t value = units_[base] & 0x7FFFFFFF;
    if (value >= texts_.size()) return "a value outside of its texts";
    return texts_.find('\0', value) - value > kLongest ? "a text of more than 4096 bytes" : nullptr;
  }

  std::vector<uint32_t> units_;
  std::string_view texts_;
};

void check_normalization(const Message& message, std::string_view table) {
  if (table.empty()) return;
  const auto fail = [&](std::string_view what) {
    message.fail(fmt::format("a normalization table with {}", what));
  };
  uint32_t size = 0;
  if (table.size() < 4) fail("no size");
  std::memcpy(&size, table.data(), 4);
  if (size % 1024 != 0 || size == 0 || size > table.size() - 4) fail(fmt::format("a trie of {} bytes", size));
  const std::string_view texts = table.substr(4 + size_t{size});
  if (texts.empty() || texts.back() != '\0') fail("texts that do not end");
  if (const char* problem = Trie(table.substr(4, size), texts).problem()) fail(problem);
}

void read_normalizer(Message message, SentencePieceModel& model) {
  Field field;
  while (message.next(field)) {
    if (field.number == 2) check_normalization(message, message.text(field));
    if (field.number == 3) model.add_dummy_prefix = message.flag(field);
    if (field.number == 4) model.remove_extra_whitespaces = message.flag(field);
  }
}

void read_denormalizer(Message message) {
  Field field;
  while (message.next(field)) {
    if (field.number == 2 && !message.text(field).empty())
      message.fail("a denormalizer, which is not supported,");
  }
}

}  // namespace

SentencePieceModel read_sentencepiece_model(std::string_view bytes, const std::string& where) {
  SentencePieceModel model;
  Message message(bytes, 0, where);
  Field field;
  while (message.next(field)) {
    if (field.number == 1) read_piece(message.message(field), model);
    if (field.number == 2) {  // how it was trained
      Message trainer = message.message(field);
      Field setting;
      while (trainer.next(setting)) {
        if (setting.number != 44) continue;
        model.unknown_text = trainer.text(setting);
        if (!is_utf8(model.unknown_text)) trainer.fail("a text for unknown pieces that is not UTF-8");
      }
    }
    if (field.number == 3) read_normalizer(message.message(field), model);
    if (field.number == 5) read_denormalizer(message.message(field));
  }
  if (model.pieces.empty())
    refuse(where, fmt::format("{} bytes without a piece", bytes.size()), "a SentencePiece model");
  return model;
}

}  // namespace phalanx
