#include "phalanx/telemetry/human.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <string_view>

namespace phalanx {
namespace {

// 0 <= value < 1000 to three significant digits.
std::string three_digits(double value) {
  if (value < 9.995) return fmt::format("{:.2f}", value);
  if (value < 99.95) return fmt::format("{:.1f}", value);
  return fmt::format("{:.0f}", value);
}

// Value in the largest unit that leaves it at 1 or more; a whole number below 1000 keeps no decimals.
template <size_t N>
std::string with_unit(double value, std::string_view gap, const std::array<std::string_view, N>& units) {
  if (!std::isfinite(value)) return "--";
  const std::string sign = value < 0 ? "-" : "";
  double size = std::abs(value);
  size_t unit = 0;
  while (size >= 999.5 && unit + 1 < N) {
    size /= 1000;
    ++unit;
  }
  const bool whole = unit == 0 && size == std::floor(size);
  const std::string digits = whole ? fmt::format("{:.0f}", size) : three_digits(size);
  return fmt::format("{}{}{}{}", sign, digits, units[unit].empty() ? "" : gap, units[unit]);
}

constexpr std::array<std::string_view, 5> kCountUnits = {"", "k", "M", "B", "T"};
constexpr std::array<std::string_view, 6> kByteUnits = {"B", "kB", "MB", "GB", "TB", "PB"};
constexpr double kLongestDays = 9999;  // a century and a half is no forecast

}  // namespace

std::string human_count(double value) {
  return with_unit(value, "", kCountUnits);
}

std::string human_bytes(double bytes) {
  return with_unit(bytes, " ", kByteUnits);
}

std::string human_duration(double seconds) {
  if (!(seconds >= 0) || seconds > kLongestDays * 86400) return "--";
  if (seconds < 0.995) return fmt::format("{:.2f}s", seconds);
  if (seconds < 9.95) return fmt::format("{:.1f}s", seconds);
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 60) return fmt::format("{}s", whole);
  if (whole < 3600) return fmt::format("{}m{:02}s", whole / 60, whole % 60);
  const int64_t minutes = (whole + 30) / 60;
  if (minutes < 24 * 60) return fmt::format("{}h{:02}m", minutes / 60, minutes % 60);
  const int64_t hours = (whole + 1800) / 3600;
  return fmt::format("{}d{:02}h", hours / 24, hours % 24);
}

std::string human_percent(double fraction) {
  if (!std::isfinite(fraction)) return "--";
  const double percent = 100 * fraction;
  if (std::abs(percent) >= 99.95) return fmt::format("{:.0f}%", percent);
  return fmt::format("{:.1f}%", percent);
}

}  // namespace phalanx
