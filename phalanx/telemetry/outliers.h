// File: phalanx/telemetry/outliers.h
//
// Purpose: tell a step that went wrong from an ordinary one: loss or gradient norm NaN or infinite, or far
// above its
//   recent values. The caller decides what to do (warn, skip the update, stop with exit code 6).
// Method: z-score of the new value x over the last N values, x among them: (x - mean) / standard deviation.
// None before
//   N values are there. Only upward jumps count. A flagged value does not enter the window, else one spike
//   would hide the next; but after kMaxSpikesInARow in a row the level is taken as new and enters. NaN and
//   infinity never enter. One value among N equal ones has z = sqrt(N - 1), so a threshold at or above that
//   (11.3 for 128) never fires.
// Source: the same rule as llm.c's outlier detector; here the sums are taken afresh in order of age, so that
// a restored
//   state goes on with the same bits.
// Errors: from_json throws Error(kBadInput) naming the field.
// Example:
//   const OutlierVerdict verdict = detector.observe(step, loss, grad_norm);
//   if (!verdict.ok()) log_warning(verdict.message);
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

#include "phalanx/base/json.h"

namespace phalanx {

struct OutlierOptions {
  size_t window = 128;  // steps
  // Gaussian noise exceeds 6 once in a billion steps. 0 turns a check off.
  double loss_z = 6.0;
  double grad_norm_z = 6.0;
};

// The last N finite values of one quantity.
class ZScoreWindow {
 public:
  static constexpr int kMaxSpikesInARow = 3;
  // A spread below this share of the mean is rounding noise: the z-score is taken as if it were this large.
  static constexpr double kMinRelativeSpread = 1e-6;

  explicit ZScoreWindow(size_t window);
  struct Score {
    double z = 0;  // NaN until the window is full
    double mean = 0;
    bool spike = false;
  };
  Score observe(double value, double threshold);
  size_t size() const { return values_.size(); }

  Json to_json() const;
  void from_json(const Json& state,
                 const std::string& where);  // keeps the newest values if the window shrank

 private:
  size_t window_;
  std::deque<double> values_;  // oldest first
  int spikes_in_a_row_ = 0;
};

enum class OutlierKind { kNone, kLossSpike, kGradNormSpike, kNonFinite };

struct OutlierVerdict {
  OutlierKind kind = OutlierKind::kNone;
  double loss_z = 0;  // NaN while unknown
  double grad_norm_z = 0;
  std::string message;  // empty when ok
  bool ok() const { return kind == OutlierKind::kNone; }
};

class OutlierDetector {
 public:
  explicit OutlierDetector(OutlierOptions options = {});
  OutlierVerdict observe(int64_t step, double loss, double grad_norm);

  Json to_json() const;
  void from_json(const Json& state, const std::string& where);

 private:
  OutlierOptions options_;
  ZScoreWindow loss_;
  ZScoreWindow grad_norm_;
};

}  // namespace phalanx
