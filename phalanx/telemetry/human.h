// File: phalanx/telemetry/human.h
//
// Purpose: numbers as people read them, in progress lines and on axes.
// Contract: three significant digits, decimal units; a value that rounds up to the next unit takes that unit.
// What is
//   not known (NaN, infinite or negative times) is "--". Pure functions, independent of the locale.
// Examples: human_count(12345) = "12.3k"   human_bytes(2.5e9) = "2.50 GB"   human_duration(8041) = "2h14m"
//   human_percent(0.431) = "43.1%"
#pragma once

#include <string>

namespace phalanx {

std::string human_count(double value);       // 950, 12.3k, 4.56M, 7.89B, 1.23T
std::string human_bytes(double bytes);       // 512 B, 1.50 kB, 2.50 GB
std::string human_duration(double seconds);  // 0.42s, 7.5s, 42s, 3m05s, 2h14m, 3d04h
std::string human_percent(double fraction);  // 0.5%, 43.1%, 100%

}  // namespace phalanx
