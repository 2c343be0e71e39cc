// File: phalanx/kernels/flush_denormals.h
//
// Purpose: while one lives, this thread's arithmetic takes denormal numbers for zero and gives zero instead of them.
// Contract: x86 only, where denormals may cost a hundred times the normal; elsewhere it does nothing. Restores what was
//   set.
#pragma once

namespace phalanx::kernels {

class FlushDenormals {
 public:
  FlushDenormals();
  ~FlushDenormals();
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
  unsigned saved_ = 0;
};

}  // namespace phalanx::kernels
