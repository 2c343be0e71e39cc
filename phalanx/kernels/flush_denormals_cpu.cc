#include "phalanx/kernels/flush_denormals.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace phalanx::kernels {

#if defined(__x86_64__)

namespace {

constexpr unsigned kFlushToZero = 0x8000;       // results
constexpr unsigned kDenormalsAreZero = 0x0040;  // operands

}  // namespace

FlushDenormals::FlushDenormals() : saved_(_mm_getcsr()) {
  _mm_setcsr(saved_ | kFlushToZero | kDenormalsAreZero);
}

FlushDenormals::~FlushDenormals() {
  _mm_setcsr(saved_);
}

#else

FlushDenormals::FlushDenormals() = default;
FlushDenormals::~FlushDenormals() = default;

#endif

}  // namespace phalanx::kernels
