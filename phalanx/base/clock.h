// File: phalanx/base/clock.h
//
// Purpose: time, in two units. Durations come from a clock that never jumps; dates from the wall.
// Units: seconds, double.
#pragma once

#include <chrono>

namespace phalanx {

inline double monotonic_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

inline double wall_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace phalanx
