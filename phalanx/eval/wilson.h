// File: phalanx/eval/wilson.h
//
// Purpose: how far a share of successes can be trusted.
// Contract: the score interval with normal quantile z (1.96: 95 %); it stays within [0, 1] and has a width at 0 and at
//   all successes, too. No trials: [0, 1].
// Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
// Example: wilson_interval(95, 100)   about 0.888 to 0.978
#pragma once

#include <cstdint>

namespace phalanx {

struct Interval {
  double low = 0;
  double high = 1;
};

Interval wilson_interval(int64_t successes, int64_t trials, double z = 1.959963984540054);

}  // namespace phalanx
