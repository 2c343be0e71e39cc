#include "phalanx/eval/wilson.h"

#include <algorithm>
#include <cmath>

#include "phalanx/base/error.h"

namespace phalanx {

Interval wilson_interval(int64_t successes, int64_t trials, double z) {
  PHALANX_CHECK(successes >= 0 && successes <= trials, "no more successes than trials");
  if (trials == 0) return {};
  const auto n = static_cast<double>(trials);
  const double share = static_cast<double>(successes) / n;
  const double scale = 1.0 / (1.0 + z * z / n);
  const double centre = scale * (share + z * z / (2 * n));
  const double half = scale * z * std::sqrt(share * (1 - share) / n + z * z / (4 * n * n));
  // Rounding must not move the ends past what is exact.
  return {.low = successes == 0 ? 0 : std::max(0.0, centre - half),
          .high = successes == trials ? 1 : std::min(1.0, centre + half)};
}

}  // namespace phalanx
