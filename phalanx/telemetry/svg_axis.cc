#include "phalanx/telemetry/svg_axis.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string_view>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

constexpr std::string_view kMinus = "\u2212";
constexpr int kMostDecimals = 5;     // more of them are harder to read than a power of ten
constexpr double kSameShare = 1e-9;  // a range below this share of its values is rounding noise, not data

struct Step {
  int mantissa = 1;  // 1, 2 or 5
  int exponent = 0;
  double at(double index) const {
    // Dividing keeps 3 * 0.1 at the double nearest to 0.3.
    const double scaled = index * mantissa;
    return exponent < 0 ? scaled / std::pow(10.0, -exponent) : scaled * std::pow(10.0, exponent);
  }
};

// The finest step with at most max_ticks multiples in the range.
Step choose_step(double low, double high, const AxisOptions& options) {
  Step step{1, static_cast<int>(std::floor(std::log10((high - low) / options.max_ticks)))};
  if (options.integers) step.exponent = std::max(step.exponent, 0);
  const auto ticks = [&](const Step& s) { return std::floor(high / s.at(1)) - std::ceil(low / s.at(1)) + 1; };
  while (ticks(step) > options.max_ticks) {
    if (step.mantissa == 5) {
      step = {1, step.exponent + 1};
    } else {
      step.mantissa = step.mantissa == 1 ? 2 : 5;
    }
  }
  return step;
}

void add_linear_ticks(Axis& axis, const AxisOptions& options) {
  const Step step = choose_step(axis.low, axis.high, options);
  std::vector<double> values;
  for (double k = std::ceil(axis.low / step.at(1)); step.at(k) <= axis.high; ++k)
    values.push_back(step.at(k) + 0.0);
  const std::vector<std::string> labels = tick_labels(values, step.at(1));
  for (size_t i = 0; i < values.size(); ++i) axis.ticks.push_back({values[i], labels[i]});
}

std::string power_label(double value) {
  return value >= 0.99e-3 && value < 1e5 ? fmt::format("{:g}", value) : scientific_label(value, 0);
}

void add_log_ticks(Axis& axis, const AxisOptions& options) {
  const int first = static_cast<int>(std::floor(std::log10(axis.low)));
  const int last = static_cast<int>(std::ceil(std::log10(axis.high)));
  const auto collect = [&](const std::vector<int>& mantissas, int stride) {
    std::vector<Tick> ticks;
    for (int exponent = first; exponent <= last; ++exponent) {
      if (exponent % stride != 0) continue;
      for (const int mantissa : mantissas) {
        const double value = Step{mantissa, exponent}.at(1);
        if (value >= axis.low && value <= axis.high) ticks.push_back({value, power_label(value)});
      }
    }
    return ticks;
  };
  axis.ticks = collect({1, 2, 5}, 1);
  // Less than a decade holds too few such numbers: evenly spaced values say more.
  if (axis.ticks.size() < 3) {
    axis.ticks.clear();
    add_linear_ticks(axis, options);
    return;
  }
  const auto limit = static_cast<size_t>(options.max_ticks);
  for (int stride = 1; axis.ticks.size() > limit; ++stride) axis.ticks = collect({1}, stride);
}

// A hyphen is too short for a minus sign.
std::string with_minus(std::string text) {
  if (text.starts_with('-')) text.replace(0, 1, kMinus);
  return text;
}

std::string with_commas(const std::string& digits) {
  const size_t start = digits[0] == '-' ? 1 : 0;
  const size_t point = std::min(digits.find('.'), digits.size());
  std::string text = digits;
  for (size_t i = point; i > start + 3; i -= 3) text.insert(i - 3, 1, ',');
  return text;
}

// How many decimals a multiple of `step` needs.
int decimals_of(double step) {
  return std::max(0, -static_cast<int>(std::floor(std::log10(step) + 1e-9)));
}

}  // namespace

double Axis::position(double value) const {
  if (log) return std::log(value / low) / std::log(high / low);
  return (value - low) / (high - low);
}

Axis make_axis(double low, double high, const AxisOptions& options) {
  PHALANX_CHECK(low <= high && options.max_ticks >= 2,
                "an axis needs an ordered range and room for two ticks");
  PHALANX_CHECK(!options.log || low > 0, "a log axis holds positive values only");
  Axis axis{.low = low, .high = high, .log = options.log};
  const double size = std::max(std::abs(low), std::abs(high));
  if (high - low <= kSameShare * size || high == low) {
    const double middle = low + (high - low) / 2;
    const double half = options.integers ? 1.0 : (size > 0 ? 0.1 * size : 1.0);
    axis.low = options.log ? middle / 1.2 : middle - half;
    axis.high = options.log ? middle * 1.2 : middle + half;
  } else if (options.log) {
    const double factor = std::pow(high / low, options.padding);
    axis.low = low / factor;
    axis.high = high * factor;
  } else {
    axis.low = low - options.padding * (high - low);
    axis.high = high + options.padding * (high - low);
  }
  if (options.log) {
    add_log_ticks(axis, options);
  } else {
    add_linear_ticks(axis, options);
  }
  return axis;
}

std::vector<std::string> tick_labels(const std::vector<double>& values, double step) {
  double largest = 0;
  for (const double value : values) largest = std::max(largest, std::abs(value));
  struct Unit {
    double size;
    const char* suffix;
  };
  const Unit unit = largest >= 1e9 ? Unit{1e9, "B"} : (largest >= 1e6 ? Unit{1e6, "M"} : Unit{1, ""});
  const int decimals = decimals_of(step / unit.size);
  std::vector<std::string> labels;
  for (const double value : values) {
    if (largest >= 1e13 || decimals > kMostDecimals) {
      // As many digits as tell neighbours apart.
      const int digits = largest > 0 ? static_cast<int>(std::ceil(std::log10(largest / step) - 1e-9)) : 0;
      labels.push_back(value == 0 ? "0" : scientific_label(value, std::clamp(digits, 0, 15)));
    } else {
      const std::string digits = fmt::format("{:.{}f}", value / unit.size, decimals);
      labels.push_back(value == 0 ? "0" : with_minus(with_commas(digits) + unit.suffix));
    }
  }
  return labels;
}

std::string value_label(double value) {
  const double size = std::abs(value);
  if (size != 0 && (size < 1e-3 || size >= 1e7)) return scientific_label(value, 2);
  if (size >= 0.1 && size < 100) return with_minus(fmt::format("{:.3f}", value));
  return with_minus(fmt::format("{:.4g}", value));
}

std::string scientific_label(double value, int decimals) {
  constexpr std::string_view kSuperscripts[] = {"\u2070", "\u00B9", "\u00B2", "\u00B3", "\u2074",
                                                "\u2075", "\u2076", "\u2077", "\u2078", "\u2079"};
  const std::string text = fmt::format("{:.{}e}", value, decimals);
  const size_t e = text.find('e');
  const int exponent = std::stoi(text.substr(e + 1));
  const std::string mantissa = text.substr(0, e);
  std::string label = mantissa == "1" ? "10" : with_minus(mantissa) + "\u00D710";
  if (exponent < 0) label += "\u207B";
  for (const char digit : std::to_string(std::abs(exponent))) label += kSuperscripts[digit - '0'];
  return label;
}

}  // namespace phalanx
