#include "phalanx/telemetry/rate_window.h"

#include <algorithm>
#include <limits>

namespace phalanx {

void RateWindow::add(double time, double done) {
  newest_ = {time, done};
  if (samples_.empty() || time - samples_.back().time >= kSpacing) samples_.push_back(newest_);
  while (samples_.size() > 2 && samples_[1].time <= time - kWindow) samples_.pop_front();
}

double RateWindow::per_second() const {
  if (samples_.empty() || newest_.time <= samples_.front().time) return 0;
  return (newest_.done - samples_.front().done) / (newest_.time - samples_.front().time);
}

double RateWindow::seconds_left(double total) const {
  const double rate = per_second();
  const double left = std::max(0.0, total - newest_.done);
  if (left == 0) return 0;
  return rate > 0 ? left / rate : std::numeric_limits<double>::infinity();
}

}  // namespace phalanx
