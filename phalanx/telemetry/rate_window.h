// File: phalanx/telemetry/rate_window.h
//
// Purpose: the recent speed of a job, for "time left": work done over the last half minute, so that a slow
// start, an
//   evaluation or a change of speed is forgotten.
// Contract: add(time, done) with both non-decreasing. Samples closer than kSpacing are merged; at least two
// are kept,
//   so that jobs with slow steps have a rate too. per_second() is 0 until it is known.
// Example: window.add(clock(), bytes_read); const double left = window.seconds_left(total);
#pragma once

#include <cstdint>
#include <deque>

namespace phalanx {

class RateWindow {
 public:
  static constexpr double kWindow = 30.0;  // seconds
  static constexpr double kSpacing = 0.5;  // seconds

  void add(double time, double done);
  double per_second() const;
  double seconds_left(double total) const;  // infinity while the rate is not known

 private:
  struct Sample {
    double time = 0;
    double done = 0;
  };
  std::deque<Sample> samples_;
  Sample newest_;
};

}  // namespace phalanx
