#include "phalanx/arch/pattern.h"

#include <algorithm>
#include <cctype>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

constexpr std::string_view kKinds = "*-MmEX";
constexpr size_t kMarkWindow = 30;   // characters shown on each side of a mistake
constexpr size_t kLongestUnit = 64;  // layers in a group that to_string looks for

bool is_symbol(char c) {
  return c == '|' || kKinds.find(c) != std::string_view::npos;
}

bool is_printable(char c) {
  return c > ' ' && c < 0x7f;
}

std::string quoted(char c) {
  if (c == ' ') return "a space";
  if (std::isspace(static_cast<unsigned char>(c)) != 0) return "white space";
  if (is_printable(c)) return std::string("'") + c + "'";
  constexpr std::string_view hex = "0123456789abcdef";
  const auto byte = static_cast<unsigned char>(c);
  return std::string("byte 0x") + hex[byte >> 4] + hex[byte & 15];
}

class Parser {
 public:
  Parser(std::string_view text, const std::string& where) : text_(text), where_(where) {}

  std::string expand_all() {
    std::string flat;
    sequence(flat, 0);
    if (position_ < text_.size())
      fail(position_, "')' without a '(' before it", "a closed group for each ')'");
    if (std::all_of(flat.begin(), flat.end(), [](char c) { return c == '|'; })) {
      fail(0, "no layer", "at least one layer, such as (*-)x12");
    }
    return flat;
  }

 private:
  // Up to the end of the text or the ')' that closes the group around it.
  void sequence(std::string& flat, int depth) {
    while (position_ < text_.size() && text_[position_] != ')') {
      const char c = text_[position_];
      if (c == '(') {
        group(flat, depth);
      } else if (is_symbol(c)) {
        append(flat, std::string_view(&text_[position_], 1), 1, position_);
        ++position_;
      } else if (c == 'x') {
        fail(position_, "'x'", "a repeat count behind a group only: (..)xN");
      } else {
        fail(position_, quoted(c), "one of * - M m E X, |, or a group (..)xN");
      }
    }
  }

  void group(std::string& flat, int depth) {
    const size_t open = position_++;
    if (depth == kMaxPatternDepth) {
      fail(open, "more than " + std::to_string(kMaxPatternDepth) + " groups inside each other",
           "flatter groups");
    }
    std::string unit;
    sequence(unit, depth + 1);
    if (position_ == text_.size()) fail(open, "'(' that is never closed", "(..)xN");
    if (unit.empty()) fail(open, "an empty group", "layers between the parentheses");
    ++position_;
    append(flat, unit, count(), open);
  }

  size_t count() {
    const size_t start = position_;
    if (position_ == text_.size() || text_[position_] != 'x')
      fail(position_, "no repeat count", "xN behind a group");
    ++position_;
    size_t value = 0;
    const size_t first_digit = position_;
    while (position_ < text_.size() && std::isdigit(static_cast<unsigned char>(text_[position_])) != 0) {
      value = std::min(value * 10 + static_cast<size_t>(text_[position_] - '0'), kMaxPatternLength + 1);
      ++position_;
    }
    if (position_ == first_digit) fail(start, "'x' without a number", "xN behind a group, such as x12");
    if (value == 0 || value > kMaxPatternLength) {
      const std::string digits(text_.substr(first_digit, std::min<size_t>(position_ - first_digit, 20)));
      fail(first_digit, "a repeat count of " + digits, "1 to " + std::to_string(kMaxPatternLength));
    }
    return value;
  }

  // Checked before anything is stored: both factors are at most kMaxPatternLength, so the product cannot overflow.
  void append(std::string& flat, std::string_view unit, size_t times, size_t at) {
    const size_t length = flat.size() + unit.size() * times;
    if (length > kMaxPatternLength) {
      fail(at, "more than " + std::to_string(kMaxPatternLength) + " layers and stage boundaries",
           "a shorter pattern");
    }
    for (size_t i = 0; i < times; ++i) flat += unit;
  }

  [[noreturn]] void fail(size_t at, const std::string& what, const std::string& needed) const {
    const size_t begin = at > kMarkWindow ? at - kMarkWindow : 0;
    std::string shown(text_.substr(begin, 2 * kMarkWindow));
    std::replace_if(
        shown.begin(), shown.end(), [](char c) { return !is_printable(c) && c != ' '; }, '?');
    const std::string lead = begin > 0 ? "..." : "";
    const std::string tail = begin + 2 * kMarkWindow < text_.size() ? "..." : "";
    throw Error(ErrorKind::kBadInput, {.where = where_,
                                       .got = what + " at character " + std::to_string(at + 1),
                                       .needed = needed,
                                       .fix = "correct the marked place\n    " + lead + shown + tail +
                                              "\n    " + std::string(lead.size() + at - begin, ' ') + "^"});
  }

  std::string_view text_;
  const std::string& where_;
  size_t position_ = 0;
};

struct Repeat {
  size_t unit = 1;
  size_t times = 1;
  size_t covered() const { return unit * times; }
};

// The repetition at the front of `flat` that covers most of it and is worth writing as a group.
Repeat best_repeat(std::string_view flat) {
  Repeat best;
  for (size_t unit = 1; unit <= std::min(kLongestUnit, flat.size() / 2); ++unit) {
    size_t same = unit;
    while (same < flat.size() && flat[same] == flat[same - unit]) ++same;
    const Repeat found{unit, same / unit};
    const size_t written = unit + 3 + std::to_string(found.times).size();
    if (written < found.covered() && found.covered() > best.covered()) best = found;
  }
  return best;
}

}  // namespace

size_t Pattern::stage_end(size_t stage) const {
  PHALANX_CHECK(stage < stage_begin.size(), "no such stage");
  return stage + 1 < stage_begin.size() ? stage_begin[stage + 1] : layers.size();
}

Pattern parse_pattern(std::string_view text, const std::string& where) {
  const std::string flat = Parser(text, where).expand_all();
  Pattern pattern;
  pattern.stage_begin.push_back(0);
  for (const char c : flat) {
    if (c == '|') {
      pattern.stage_begin.push_back(pattern.layers.size());
    } else {
      pattern.layers.push_back(static_cast<LayerKind>(c));
    }
  }
  return pattern;
}

std::string expand(const Pattern& pattern) {
  std::string flat;
  for (size_t stage = 0; stage < pattern.num_stages(); ++stage) {
    if (stage > 0) flat += '|';
    for (size_t i = pattern.stage_begin[stage]; i < pattern.stage_end(stage); ++i) {
      flat += static_cast<char>(pattern.layers[i]);
    }
  }
  return flat;
}

std::string to_string(const Pattern& pattern) {
  const std::string flat = expand(pattern);
  std::string text;
  std::string_view rest = flat;
  while (!rest.empty()) {
    const Repeat repeat = best_repeat(rest);
    const std::string unit(rest.substr(0, repeat.unit));
    text += repeat.times == 1 ? unit : "(" + unit + ")x" + std::to_string(repeat.times);
    rest.remove_prefix(repeat.covered());
  }
  return text;
}

int64_t count_pairs(const Pattern& pattern) {
  int64_t pairs = 0;
  for (size_t i = 0; i + 1 < pattern.layers.size(); ++i) {
    if (pattern.layers[i] == LayerKind::kAttention && pattern.layers[i + 1] == LayerKind::kMlp) ++pairs;
  }
  return pairs;
}

size_t unit_end(const Pattern& pattern, size_t begin, size_t end) {
  const bool pair = begin + 1 < end && pattern.layers[begin] == LayerKind::kAttention &&
                    pattern.layers[begin + 1] == LayerKind::kMlp;
  return begin + (pair ? 2 : 1);
}

bool has_mamba(const Pattern& pattern) {
  return count_of(pattern, LayerKind::kMamba2) + count_of(pattern, LayerKind::kMamba1) > 0;
}

int64_t count_of(const Pattern& pattern, LayerKind kind) {
  return std::count(pattern.layers.begin(), pattern.layers.end(), kind);
}

bool is_transformer(const Pattern& pattern) {
  return static_cast<size_t>(count_pairs(pattern)) * 2 == pattern.layers.size();
}

std::string_view layer_kind_name(LayerKind kind) {
  switch (kind) {
    case LayerKind::kAttention:
      return "attention";
    case LayerKind::kMlp:
      return "MLP";
    case LayerKind::kMamba2:
      return "Mamba-2";
    case LayerKind::kMamba1:
      return "Mamba-1";
    case LayerKind::kExperts:
      return "experts";
    case LayerKind::kCrossAttention:
      return "gated cross-attention";
  }
  PHALANX_CHECK(false, "unknown layer kind");
}

bool is_buildable(LayerKind kind) {
  return kind == LayerKind::kAttention || kind == LayerKind::kMlp || kind == LayerKind::kMamba2 ||
         kind == LayerKind::kMamba1;
}

}  // namespace phalanx
