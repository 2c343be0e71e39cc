#include "phalanx/kernels/ssd/ssd_cpu.h"

#include <algorithm>
#include <type_traits>

// As in ssd_product_cpu.cc.
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "phalanx/kernels/ssd/ssd_cpu.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// After it.
#include <hwy/contrib/math/math-inl.h>

HWY_BEFORE_NAMESPACE();
namespace phalanx::kernels {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <typename T>
using Wide = hn::ScalableTag<T>;
template <typename T>
using Vector = hn::Vec<Wide<T>>;

template <typename T>
HWY_INLINE int64_t lanes() {
  return static_cast<int64_t>(hn::Lanes(Wide<T>()));
}

template <typename T>
HWY_INLINE Vector<T> exp_nonpositive_vector(Vector<T> x) {
  const Wide<T> d;
  return hn::Exp(d, hn::Min(x, hn::Zero(d)));
}

// Lane i holds index v + i; true where first <= index < last.
template <typename T>
HWY_INLINE hn::Mask<Wide<T>> between(int64_t v, int64_t first, int64_t last) {
  const Wide<T> d;
  const auto clip = [v](int64_t i)
                        HWY_ATTR { return static_cast<size_t>(std::clamp<int64_t>(i - v, 0, lanes<T>())); };
  return hn::AndNot(hn::FirstN(d, clip(first)), hn::FirstN(d, clip(last)));
}

template <typename T>
void decays(const SsdRows& rows, double A, SsdDecays<T>& r) {
  const Wide<T> d;
  const int64_t n = rows.rows;
  double sum = 0.0;
  for (int64_t l = 0; l < n; ++l) {
    // Anew in a document: what stands before it leaves no trace, not even in the rounding.
    sum = (rows.start[l] == l ? 0.0 : sum) + static_cast<double>(r.delta[l]) * A;
    r.high[l] = static_cast<T>(sum);
    r.low[l] = static_cast<T>(sum - static_cast<double>(r.high[l]));
  }
  const auto last_high = hn::Set(d, r.high[n - 1]);
  const auto last_low = hn::Set(d, r.low[n - 1]);
  r.whole = hn::GetLane(exp_nonpositive_vector<T>(hn::Add(last_high, last_low)));
  for (int64_t v = 0; v < n; v += lanes<T>()) {
    const auto high = hn::Load(d, r.high + v);
    const auto low = hn::Load(d, r.low + v);
    const auto before = exp_nonpositive_vector<T>(hn::Add(high, low));
    hn::Store(hn::IfThenElseZero(between<T>(v, 0, rows.carried), before), d, r.before + v);
    const auto rest = hn::Add(hn::Sub(last_high, high), hn::Sub(last_low, low));
    const auto after =
        hn::IfThenElseZero(between<T>(v, rows.start[n - 1], n), exp_nonpositive_vector<T>(rest));
    hn::Store(after, d, r.after + v);
    hn::Store(hn::Mul(after, hn::Load(d, r.delta + v)), d, r.inject + v);
  }
}

template <typename T>
void forward_matrix(const SsdRows& rows, const SsdDecays<T>& r, const T* G, int64_t ld, T skip, T* M) {
  const Wide<T> d;
  for (int64_t s = 0; s < rows.rows; ++s) {
    const int64_t end = rows.end[s];
    const auto high = hn::Set(d, r.high[s]);
    const auto low = hn::Set(d, r.low[s]);
    const auto delta = hn::Set(d, r.delta[s]);
    T* to = M + s * ld;
    int64_t v = s / lanes<T>() * lanes<T>();
    for (; v < end; v += lanes<T>()) {
      const auto exponent =
          hn::Add(hn::Sub(hn::Load(d, r.high + v), high), hn::Sub(hn::Load(d, r.low + v), low));
      const auto value =
          hn::Mul(hn::Mul(hn::Load(d, G + s * ld + v), exp_nonpositive_vector<T>(exponent)), delta);
      hn::Store(v > s && v + lanes<T>() <= end ? value : hn::IfThenElseZero(between<T>(v, s, end), value), d,
                to + v);
    }
    for (; v < rows.rows; v += lanes<T>()) hn::Store(hn::Zero(d), d, to + v);
    to[s] += skip;
  }
}

// Columns [v, v + lanes) of row l; adds to `across` what they give to the gradient of (delta A)[l].
template <bool kMasked, typename T>
HWY_INLINE void inside_piece(const SsdRows& rows, const SsdDecays<T>& r, const SsdInside<T>& m, int64_t l,
                             int64_t v, Vector<T>& across) {
  const Wide<T> d;
  const auto exponent = hn::Add(hn::Sub(hn::Set(d, r.high[l]), hn::Load(d, r.high + v)),
                                hn::Sub(hn::Set(d, r.low[l]), hn::Load(d, r.low + v)));
  const auto delta = hn::Load(d, r.delta + v);
  auto decay = exp_nonpositive_vector<T>(exponent);
  auto W = hn::Load(d, m.W + l * m.ld + v);
  auto G = hn::Load(d, m.G + l * m.ld + v);
  if constexpr (kMasked) {
    const auto mask = between<T>(v, rows.start[l], l + 1);
    decay = hn::IfThenElseZero(mask, decay);
    W = hn::IfThenElseZero(mask, W);
    G = hn::IfThenElseZero(mask, G);
  }
  const auto decayed = hn::Mul(decay, delta);
  hn::Store(hn::Mul(G, decayed), d, m.M + l * m.ld + v);
  T* dG = m.dG + l * m.ld + v;
  hn::Store(hn::MulAdd(W, decayed, hn::Load(d, dG)), d, dG);
  const auto straight = hn::MulAdd(hn::Mul(G, decay), W, hn::Load(d, m.straight + v));
  hn::Store(straight, d, m.straight + v);
  if constexpr (kMasked) {
    across = hn::Add(across, hn::IfThenElseZero(between<T>(v, rows.start[l], l), hn::Mul(straight, delta)));
  } else {
    across = hn::MulAdd(straight, delta, across);
  }
}

// Rows upwards from the last: `straight` then holds for row l the sums over the rows from l on, of which those
// left of l give `across`, and no sum is ever taken back.
template <typename T>
double backward_matrix(const SsdRows& rows, const SsdDecays<T>& r, T skip, const SsdInside<T>& m) {
  const Wide<T> d;
  double diagonal = 0.0;
  std::fill_n(m.straight, (rows.rows + kSsdPad - 1) / kSsdPad * kSsdPad, T(0));
  for (int64_t l = rows.rows - 1; l >= 0; --l) {
    const int64_t start = rows.start[l];
    auto across = hn::Zero(d);
    int64_t v = 0;
    for (; v + lanes<T>() <= start; v += lanes<T>()) hn::Store(hn::Zero(d), d, m.M + l * m.ld + v);
    for (; v <= l; v += lanes<T>()) {
      if (v >= start && v + lanes<T>() <= l) {
        inside_piece<false>(rows, r, m, l, v, across);
      } else {
        inside_piece<true>(rows, r, m, l, v, across);
      }
    }
    m.across[l] = hn::GetLane(hn::SumOfLanes(d, across));
    m.M[l * m.ld + l] += skip;
    diagonal += static_cast<double>(m.W[l * m.ld + l]);
  }
  return diagonal;
}

template <typename T>
void scale_rows(int64_t rows, int64_t columns, const T* in, int64_t in_ld, const T* scale, T* out,
                int64_t ld) {
  const Wide<T> d;
  for (int64_t r = 0; r < rows; ++r) {
    const T* from = in + r * in_ld;
    T* to = out + r * ld;
    const T factor = scale == nullptr ? T(1) : scale[r];
    const auto factors = hn::Set(d, factor);
    int64_t c = 0;
    for (; c + lanes<T>() <= columns; c += lanes<T>()) {
      hn::StoreU(hn::Mul(hn::LoadU(d, from + c), factors), d, to + c);
    }
    for (; c < columns; ++c) to[c] = from[c] * factor;
  }
}

#if HWY_TARGET != HWY_SCALAR
// In 128-bit vectors.
HWY_INLINE void transpose_block(const float* in, int64_t in_ld, float* out, int64_t ld) {
  const hn::CappedTag<float, 4> d;
  const hn::CappedTag<double, 2> pairs;
  const auto a = hn::LoadU(d, in);
  const auto b = hn::LoadU(d, in + in_ld);
  const auto c = hn::LoadU(d, in + 2 * in_ld);
  const auto e = hn::LoadU(d, in + 3 * in_ld);
  const auto ab_low = hn::BitCast(pairs, hn::InterleaveLower(d, a, b));
  const auto ab_high = hn::BitCast(pairs, hn::InterleaveUpper(d, a, b));
  const auto ce_low = hn::BitCast(pairs, hn::InterleaveLower(d, c, e));
  const auto ce_high = hn::BitCast(pairs, hn::InterleaveUpper(d, c, e));
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, ab_low, ce_low)), d, out);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, ab_low, ce_low)), d, out + ld);
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, ab_high, ce_high)), d, out + 2 * ld);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, ab_high, ce_high)), d, out + 3 * ld);
}
#endif

template <typename T>
HWY_INLINE void transpose_block(const T* in, int64_t in_ld, T* out, int64_t ld) {
  for (int64_t r = 0; r < 4; ++r) {
    for (int64_t c = 0; c < 4; ++c) out[c * ld + r] = in[r * in_ld + c];
  }
}

template <typename T>
void transpose(int64_t rows, int64_t columns, const T* in, int64_t in_ld, T* out, int64_t ld) {
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    int64_t c = 0;
    for (; c + 4 <= columns; c += 4) transpose_block(in + r * in_ld + c, in_ld, out + c * ld + r, ld);
    for (; c < columns; ++c) {
      for (int64_t i = r; i < r + 4; ++i) out[c * ld + i] = in[i * in_ld + c];
    }
  }
  for (; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) out[c * ld + r] = in[r * in_ld + c];
  }
}

template <typename T>
double dot(int64_t n, const T* a, const T* b) {
  const Wide<T> d;
  auto sum0 = hn::Zero(d);
  auto sum1 = hn::Zero(d);
  int64_t i = 0;
  for (; i + 2 * lanes<T>() <= n; i += 2 * lanes<T>()) {
    sum0 = hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), sum0);
    sum1 = hn::MulAdd(hn::LoadU(d, a + i + lanes<T>()), hn::LoadU(d, b + i + lanes<T>()), sum1);
  }
  double sum = static_cast<double>(hn::GetLane(hn::SumOfLanes(d, hn::Add(sum0, sum1))));
  for (; i < n; ++i) sum += static_cast<double>(a[i] * b[i]);
  return sum;
}

template <typename T>
void step(const SsdStep<T>& s) {
  const Wide<T> d;
  const auto decay = hn::Set(d, s.decay);
  const int64_t whole = s.states / lanes<T>() * lanes<T>();
  for (int64_t p = 0; p < s.width; ++p) {
    T* state = s.state + p * s.states;
    const T input = s.delta * s.x[p];
    const auto inputs = hn::Set(d, input);
    auto sum = hn::Zero(d);
    for (int64_t n = 0; n < whole; n += lanes<T>()) {
      const auto next = hn::MulAdd(decay, hn::LoadU(d, state + n), hn::Mul(inputs, hn::LoadU(d, s.B + n)));
      hn::StoreU(next, d, state + n);
      sum = hn::MulAdd(next, hn::LoadU(d, s.C + n), sum);
    }
    T y = hn::GetLane(hn::SumOfLanes(d, sum)) + s.skip * s.x[p];
    for (int64_t n = whole; n < s.states; ++n) {
      state[n] = s.decay * state[n] + input * s.B[n];
      y += state[n] * s.C[n];
    }
    s.y[p] = y;
  }
}

const SsdBodies<float>& float_bodies() {
  static const SsdBodies<float> table = {decays<float>,     forward_matrix<float>, backward_matrix<float>,
                                         scale_rows<float>, transpose<float>,      dot<float>,
                                         step<float>};
  return table;
}
const SsdBodies<double>& double_bodies() {
  static const SsdBodies<double> table = {decays<double>,     forward_matrix<double>, backward_matrix<double>,
                                          scale_rows<double>, transpose<double>,      dot<double>,
                                          step<double>};
  return table;
}

}  // namespace HWY_NAMESPACE
}  // namespace phalanx::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phalanx::kernels {

HWY_EXPORT(float_bodies);
HWY_EXPORT(double_bodies);

template <>
const SsdBodies<float>& ssd_bodies() {
  return HWY_DYNAMIC_DISPATCH(float_bodies)();
}

template <>
const SsdBodies<double>& ssd_bodies() {
  return HWY_DYNAMIC_DISPATCH(double_bodies)();
}

}  // namespace phalanx::kernels
#endif
