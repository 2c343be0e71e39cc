// File: phalanx/kernels/selective_scan/scan_vectors.h
//
// Purpose: the arithmetic of the fp32 bodies of the selective scan: numbers of 16 channels side by side, in one or more
//   vectors.
// Contract: included once for each kind of vectors, after foreach_target.h, so without a guard. The order of sums over
//   channels does not depend on the vectors' width.
#include <hwy/highway.h>

#include <algorithm>

#include "phalanx/kernels/selective_scan/scan_scratch.h"

HWY_BEFORE_NAMESPACE();
namespace phalanx::kernels {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::CappedTag<float, kScanGroup>;
using V = hn::Vec<Floats>;
constexpr int64_t kWidth = static_cast<int64_t>(hn::MaxLanes(Floats()));
constexpr int64_t kVectors = kScanGroup / kWidth;

// One number of each channel of a group.
struct G {
  V v[kVectors];
};

HWY_INLINE G load(const float* from) {
  G r;
  for (int64_t k = 0; k < kVectors; ++k) r.v[k] = hn::Load(Floats(), from + k * kWidth);
  return r;
}

HWY_INLINE void store(const G& g, float* to) {
  for (int64_t k = 0; k < kVectors; ++k) hn::Store(g.v[k], Floats(), to + k * kWidth);
}

HWY_INLINE G fill(float x) {
  G r;
  for (int64_t k = 0; k < kVectors; ++k) r.v[k] = hn::Set(Floats(), x);
  return r;
}

HWY_INLINE G operator*(const G& a, const G& b) {
  G r;
  for (int64_t k = 0; k < kVectors; ++k) r.v[k] = hn::Mul(a.v[k], b.v[k]);
  return r;
}

HWY_INLINE G operator+(const G& a, const G& b) {
  G r;
  for (int64_t k = 0; k < kVectors; ++k) r.v[k] = hn::Add(a.v[k], b.v[k]);
  return r;
}

// a b + c
HWY_INLINE G fma(const G& a, const G& b, const G& c) {
  G r;
  for (int64_t k = 0; k < kVectors; ++k) r.v[k] = hn::MulAdd(a.v[k], b.v[k], c.v[k]);
  return r;
}

// exp(x) for x <= 0; 0 where that is denormal; NaN of NaN. x = n ln 2 + f with |f| <= ln 2 / 2, and exp(f) is
// 1 + f + f^2 (..) with coefficients fitted for the smallest greatest relative error, 3e-8.
HWY_INLINE V exp_nonpositive(V x) {
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  // Adding it leaves n + 127, the exponent of 2^n, in the lowest bits.
  const V round = hn::Set(d, 0x1.8p+23f + 127.0f);
  const V one = hn::Set(d, 1.0f);
  x = hn::Max(hn::Set(d, -88.029692f), x);  // -127 ln 2; in this order x86 keeps a NaN
  const V shifted = hn::MulAdd(x, hn::Set(d, 0x1.715476p+0f), round);
  const V f = hn::NegMulAdd(hn::Sub(shifted, round), hn::Set(d, 0x1.62e43p-1f), x);
  V g = hn::Set(d, 0x1.709b64p-10f);
  g = hn::MulAdd(g, f, hn::Set(d, 0x1.12903ep-7f));
  g = hn::MulAdd(g, f, hn::Set(d, 0x1.55515ep-5f));
  g = hn::MulAdd(g, f, hn::Set(d, 0x1.5553c2p-3f));
  g = hn::MulAdd(g, f, hn::Set(d, 0x1.000002p-1f));
  g = hn::MulAdd(g, f, one);
  g = hn::MulAdd(g, f, one);
  return hn::Mul(g, hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(di, shifted))));
}

HWY_INLINE G exp_nonpositive(const G& x) {
  G r;
  for (int64_t k = 0; k < kVectors; ++k) r.v[k] = exp_nonpositive(x.v[k]);
  return r;
}

// log(1 + e) for e in [0, 1], as 2 artanh(s): an odd polynomial, fitted like that of exp, error 4e-9.
HWY_INLINE V log1p_of_fraction(V e) {
  const Floats d;
  const V s = hn::Div(e, hn::Add(e, hn::Set(d, 2.0f)));
  const V t = hn::Mul(s, s);
  V g = hn::Set(d, 0x1.208bd2p-2f);
  g = hn::MulAdd(g, t, hn::Set(d, 0x1.1e510ap-2f));
  g = hn::MulAdd(g, t, hn::Set(d, 0x1.99dae6p-2f));
  g = hn::MulAdd(g, t, hn::Set(d, 0x1.5554e0p-1f));
  g = hn::MulAdd(g, t, hn::Set(d, 2.0f));
  return hn::Mul(g, s);
}

// 1 / (1 + exp(-x)), given e = exp(-|x|).
HWY_INLINE V sigmoid_of(V x, V e) {
  const Floats d;
  const V one = hn::Set(d, 1.0f);
  return hn::Div(hn::IfThenElse(hn::Lt(x, hn::Zero(d)), e, one), hn::Add(one, e));
}

HWY_INLINE G sigmoid(const G& x) {
  G r;
  for (int64_t k = 0; k < kVectors; ++k) {
    r.v[k] = sigmoid_of(x.v[k], exp_nonpositive(hn::Neg(hn::Abs(x.v[k]))));
  }
  return r;
}

struct Softplus {
  G value;
  G slope;
};

// Above 20 rounding does what the definition wants: the logarithm is lost and the slope is 1.
HWY_INLINE Softplus softplus(const G& x) {
  const Floats d;
  Softplus r;
  for (int64_t k = 0; k < kVectors; ++k) {
    const V e = exp_nonpositive(hn::Neg(hn::Abs(x.v[k])));
    r.value.v[k] = hn::Add(hn::Max(hn::Zero(d), x.v[k]), log1p_of_fraction(e));
    r.slope.v[k] = sigmoid_of(x.v[k], e);
  }
  return r;
}

// Sums of neighbours, those of `lower` first. ConcatEven and ConcatOdd are found by their arguments: where a vector is
// one number there are none.
template <typename D>
HWY_INLINE hn::Vec<D> pair_sums_of(D d, hn::Vec<D> lower, hn::Vec<D> upper) {
  if constexpr (hn::MaxLanes(D()) == 1) {
    return hn::Add(lower, upper);
  } else {
    return hn::Add(ConcatEven(d, upper, lower), ConcatOdd(d, upper, lower));
  }
}

// Sums of neighbours: of a's channels, then of b's.
HWY_INLINE G pair_sums(const G& a, const G& b) {
  G both[2] = {a, b};
  G r;
  for (int64_t k = 0; k < kVectors; ++k) {
    const int64_t lower = 2 * k;
    const int64_t upper = 2 * k + 1;
    r.v[k] = pair_sums_of(Floats(), both[lower / kVectors].v[lower % kVectors],
                          both[upper / kVectors].v[upper % kVectors]);
  }
  return r;
}

HWY_INLINE G load_channels(const float* from, int64_t count) {
  G r;
  if (count == kScanGroup) {
    for (int64_t k = 0; k < kVectors; ++k) r.v[k] = hn::LoadU(Floats(), from + k * kWidth);
    return r;
  }
  HWY_ALIGN float padded[kScanGroup] = {};
  std::copy_n(from, count, padded);
  return load(padded);
}

HWY_INLINE void store_channels(const G& g, int64_t count, float* to) {
  if (count == kScanGroup) {
    for (int64_t k = 0; k < kVectors; ++k) hn::StoreU(g.v[k], Floats(), to + k * kWidth);
    return;
  }
  HWY_ALIGN float padded[kScanGroup] = {};
  store(g, padded);
  std::copy_n(padded, count, to);
}

HWY_INLINE void add_tile(const float* from, float* to) {
  const hn::CappedTag<float, kScanTile> d;
  for (size_t k = 0; k < kScanTile; k += hn::Lanes(d)) {
    hn::StoreU(hn::Add(hn::LoadU(d, to + k), hn::Load(d, from + k)), d, to + k);
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace phalanx::kernels
HWY_AFTER_NAMESPACE();
