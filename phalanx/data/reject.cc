#include "phalanx/data/reject.h"

#include <charconv>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

#include "phalanx/base/error.h"

namespace phalanx {

std::string_view reject_name(RejectReason reason) {
  static constexpr std::array<std::string_view, kRejectReasons> kNames = {
      "broken_json", "not_an_object", "missing_key", "not_text", "nul_byte", "too_long", "not_encodable"};
  return kNames[static_cast<size_t>(reason)];
}

int64_t RejectCounts::total() const {
  return std::accumulate(by_reason.begin(), by_reason.end(), int64_t{0});
}

void RejectCounts::add(const RejectCounts& other) {
  for (size_t i = 0; i < kRejectReasons; ++i) by_reason[i] += other.by_reason[i];
  for (const RejectExample& example : other.examples) {
    if (examples.size() < kExamples) examples.push_back(example);
  }
}

RejectLimit RejectLimit::parse(const std::string& text) {
  const bool is_share = text.ends_with('%');
  const char* const end = text.data() + text.size() - (is_share ? 1 : 0);
  double value = -1;
  const auto [stop, error] = std::from_chars(text.data(), end, value, std::chars_format::fixed);
  const bool good = error == std::errc() && stop == end && std::isfinite(value) && value >= 0 &&
                    (is_share ? value <= 100 : value == std::floor(value) && value < 1e15);
  if (!good) {
    throw Error(ErrorKind::kUsage, {.where = "--max-rejected",
                                    .got = "'" + text + "'",
                                    .needed = "a number of lines (100) or a share of them (2%)",
                                    .fix = "change the value"});
  }
  if (is_share) return {.lines = std::nullopt, .share = value / 100, .at_end = true};
  return {.lines = static_cast<int64_t>(value), .share = 1, .at_end = true};
}

std::string RejectLimit::text() const {
  return lines ? std::to_string(*lines) : fmt::format("{:g}%", share * 100);
}

void RejectLimit::check(const RejectCounts& rejected, int64_t lines_read, bool end) const {
  const int64_t total = rejected.total();
  const bool sampled = lines_read >= kSample || (end && at_end);
  const bool passed = lines ? total > *lines
                            : sampled && static_cast<double>(total) > share * static_cast<double>(lines_read);
  if (!passed) return;
  std::string first;
  for (const RejectExample& example : rejected.examples)
    first += fmt::format("; {}: {}", example.where, example.what);
  throw Error(ErrorKind::kBadInput, {.where = "rejected lines",
                                     .got = fmt::format("{} of {} lines{}", total, lines_read, first),
                                     .needed = fmt::format("at most {}", text()),
                                     .fix = "mend the input, check --json-keys, or raise --max-rejected"});
}

}  // namespace phalanx
