#include "phalanx/telemetry/svg_text.h"

#include <algorithm>
#include <cstdint>
#include <numeric>

namespace phalanx {
namespace {

constexpr uint32_t kReplacement = 0xFFFD;
constexpr std::string_view kEllipsis = "\u2026";

struct CodePoint {
  uint32_t value = 0;
  size_t size = 1;  // bytes
};

// The code point at the start of `text`; a byte that starts none is U+FFFD, one byte long.
CodePoint decode(std::string_view text) {
  const auto byte = [&text](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const size_t size = lead >= 0xF0 ? 4 : (lead >= 0xE0 ? 3 : 2);
  if (lead < 0xC2 || lead > 0xF4 || text.size() < size) return {kReplacement, 1};
  uint32_t value = lead & (0x7Fu >> size);
  for (size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {kReplacement, 1};
    value = value << 6 | (byte(i) & 0x3Fu);
  }
  constexpr uint32_t kSmallest[5] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = value >= 0xD800 && value <= 0xDFFF;
  if (value < kSmallest[size] || value > 0x10FFFF || surrogate) return {kReplacement, 1};
  return {value, size};
}

// Shares of the font size, after Helvetica and Verdana.
double glyph_width(uint32_t c) {
  if (c >= 0x1100) return 1.0;  // wide scripts
  if (c >= 0x80) return 0.65;
  const char ch = static_cast<char>(c);
  constexpr std::string_view kNarrow = "ijlI.,:;|!'()[] ";
  constexpr std::string_view kMedium = "frt-/\\\"";
  constexpr std::string_view kWide = "mwMW%@";
  if (kNarrow.find(ch) != std::string_view::npos) return 0.34;
  if (kMedium.find(ch) != std::string_view::npos) return 0.42;
  if (kWide.find(ch) != std::string_view::npos) return 0.95;
  if (ch >= 'A' && ch <= 'Z') return 0.70;
  return 0.60;
}

bool allowed_in_xml(uint32_t c) {
  return c == '\t' || c == '\n' || c == '\r' || (c >= 0x20 && c != 0xFFFE && c != 0xFFFF);
}

}  // namespace

double text_width(std::string_view text, double font_size) {
  double width = 0;
  while (!text.empty()) {
    const CodePoint c = decode(text);
    width += glyph_width(c.value);
    text.remove_prefix(c.size);
  }
  return width * font_size;
}

std::string fit_text(std::string_view text, double font_size, double max_width) {
  if (text_width(text, font_size) <= max_width) return std::string(text);
  const double room = max_width - text_width(kEllipsis, font_size);
  double width = 0;
  size_t kept = 0;
  while (kept < text.size()) {
    const CodePoint c = decode(text.substr(kept));
    width += glyph_width(c.value) * font_size;
    if (width > room) break;
    kept += c.size;
  }
  while (kept > 0 && text[kept - 1] == ' ') --kept;
  return std::string(text.substr(0, kept)) + std::string(kEllipsis);
}

std::string xml_escape(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const CodePoint c = decode(text);
    const std::string_view bytes = text.substr(0, c.size);
    text.remove_prefix(c.size);
    if (c.value == '&') {
      out += "&amp;";
    } else if (c.value == '<') {
      out += "&lt;";
    } else if (c.value == '>') {
      out += "&gt;";
    } else if (c.value == '"') {
      out += "&quot;";
    } else if (c.value == kReplacement) {
      out += "\uFFFD";
    } else if (allowed_in_xml(c.value)) {
      out += bytes;
    }
  }
  return out;
}

// With q_i = y_i - i * gap the condition "gap apart" becomes "not decreasing": isotonic regression, by
// pooling neighbours that are out of order into blocks with their mean.
std::vector<double> spread_labels(const std::vector<double>& wanted, double gap, double low, double high) {
  const size_t n = wanted.size();
  if (n == 0) return {};
  if (n > 1) gap = std::min(gap, (high - low) / static_cast<double>(n - 1));
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return wanted[a] < wanted[b]; });

  struct Block {
    double mean;
    size_t count;
  };
  std::vector<Block> blocks;
  for (size_t i = 0; i < n; ++i) {
    blocks.push_back({wanted[order[i]] - static_cast<double>(i) * gap, 1});
    while (blocks.size() > 1 && blocks[blocks.size() - 2].mean > blocks.back().mean) {
      const Block last = blocks.back();
      blocks.pop_back();
      Block& into = blocks.back();
      const auto a = static_cast<double>(into.count);
      const auto b = static_cast<double>(last.count);
      into = {(into.mean * a + last.mean * b) / (a + b), into.count + last.count};
    }
  }
  const double top = std::max(low, high - static_cast<double>(n - 1) * gap);
  std::vector<double> placed(n);
  size_t i = 0;
  for (const Block& block : blocks) {
    for (size_t k = 0; k < block.count; ++k, ++i) {
      placed[order[i]] = std::clamp(block.mean, low, top) + static_cast<double>(i) * gap;
    }
  }
  return placed;
}

}  // namespace phalanx
