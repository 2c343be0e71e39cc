#include "phalanx/data/split.h"

#include <charconv>
#include <cmath>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

[[noreturn]] void fail(const std::string& split, const std::string& got) {
  throw Error(ErrorKind::kBadInput, {.where = fmt::format("split '{}'", split),
                                     .got = got,
                                     .needed = "one to three numbers that are not negative, not all zero",
                                     .fix = "write it as in 969,30,1"});
}

std::vector<double> parse_numbers(const std::string& split) {
  constexpr std::string_view kNumber = "0123456789.";
  constexpr std::string_view kSeparator = ", \t/;";
  std::vector<double> numbers;
  std::string_view rest = split;
  while (true) {
    rest.remove_prefix(std::min(rest.find_first_not_of(kSeparator), rest.size()));
    if (rest.empty()) return numbers;
    const std::string_view word = rest.substr(0, rest.find_first_not_of(kNumber));
    if (word.empty()) fail(split, fmt::format("'{}'", rest.front()));
    double value = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (error != std::errc{} || end != word.data() + word.size()) fail(split, fmt::format("'{}'", word));
    numbers.push_back(value);
    rest.remove_prefix(word.size());
  }
}

}  // namespace

SplitRanges split_sequences(const std::string& split, int64_t num_sequences) {
  std::vector<double> shares = parse_numbers(split);
  if (shares.empty() || shares.size() > 3) fail(split, fmt::format("{} numbers", shares.size()));
  shares.resize(3, 0.0);
  const double sum = shares[0] + shares[1] + shares[2];
  if (!(sum > 0) || !std::isfinite(sum)) fail(split, fmt::format("the sum {}", sum));
  SplitRanges ranges;
  double low = 0;
  for (size_t i = 0; i < 3; ++i) {
    const double high = low + shares[i] / sum;
    if (high > low) {
      // nearbyint rounds halves to even, the mode every thread starts with.
      const auto border = [&](double share) {
        return static_cast<int64_t>(std::nearbyint(share * static_cast<double>(num_sequences)));
      };
      ranges[i] = {border(low), border(high)};
    }
    low = high;
  }
  return ranges;
}

}  // namespace phalanx
