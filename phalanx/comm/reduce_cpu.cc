#include "phalanx/comm/reduce_cpu.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>

namespace phalanx::comm {
namespace {

// Elements that are summed at a time: the block of every rank and the accumulator stay in the first-level cache.
constexpr int64_t kBlock = 1024;

// Without a branch, which would keep a loop from being vectorized.
inline uint32_t select(bool condition, uint32_t yes, uint32_t no) {
  const uint32_t mask = 0u - static_cast<uint32_t>(condition);
  return (yes & mask) | (no & ~mask);
}

// How an element type is stored, and what it is accumulated in.
template <typename T>
struct Plain {
  using Stored = T;
  using Sum = T;
  static T load(T x) { return x; }
  static T store(T x) { return x; }
};

struct BF16 {
  using Stored = uint16_t;
  using Sum = float;
  static float load(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }
  static uint16_t store(float x) {
    const auto bits = std::bit_cast<uint32_t>(x);
    const uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;  // half to even
    return static_cast<uint16_t>(select(std::isnan(x), 0x7FC0u, rounded));
  }
};

struct F16 {
  using Stored = uint16_t;
  using Sum = float;
  static constexpr uint32_t kSign = 0x8000u;
  static constexpr uint32_t kBias = uint32_t{127 - 15} << 23;  // between the two exponents, in fp32's place

  static float load(uint16_t bits) {
    const uint32_t magnitude = bits & 0x7FFFu;
    const uint32_t shifted = (magnitude << 13) + kBias;
    // An exponent of all ones stays one of all ones; one of zero is a multiple of 2^-24.
    const uint32_t large = shifted + select(magnitude >= 0x7C00u, kBias, 0);
    const auto small =
        std::bit_cast<uint32_t>(static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-24f);
    return std::bit_cast<float>(select(magnitude < 0x0400u, small, large) | ((bits & kSign) << 16));
  }

  static uint16_t store(float x) {
    const auto bits = std::bit_cast<uint32_t>(x);
    const uint32_t magnitude = bits & 0x7FFFFFFFu;
    // Half to even; the carry of a full mantissa makes the next exponent, and infinity out of what is too large.
    const uint32_t normal = (magnitude + 0x0FFFu + ((magnitude >> 13) & 1u) - kBias) >> 13;
    // Below 2^-14 the steps are 2^-24, which are those of fp32 just above one half: the addition rounds.
    const uint32_t tiny = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3F000000u;
    const uint32_t finite = select(magnitude < 0x38800000u, tiny, normal);
    const uint32_t special = select(magnitude > 0x7F800000u, 0x7E00u, 0x7C00u);
    const uint32_t half = select(magnitude >= 0x47800000u, special, finite);
    return static_cast<uint16_t>(half | ((bits >> 16) & kSign));
  }
};

template <ReduceOp kOp, typename S>
inline S combine(S a, S b) {
  if constexpr (kOp == ReduceOp::kMax && std::is_integral_v<S>) {
    return std::max(a, b);
  } else if constexpr (kOp == ReduceOp::kMax) {
    // Not ||, whose second half is a branch.
    return static_cast<int>(b > a) | static_cast<int>(std::isnan(b)) ? b : a;
  } else if constexpr (std::is_integral_v<S>) {
    using Unsigned = std::make_unsigned_t<S>;
    return static_cast<S>(static_cast<Unsigned>(static_cast<Unsigned>(a) + static_cast<Unsigned>(b)));
  } else {
    return a + b;
  }
}

template <typename T>
inline const T* elements(const std::byte* bytes, int64_t begin) {
  return reinterpret_cast<const T*>(bytes) + begin;
}

template <typename E, ReduceOp kOp>
inline void reduce_blocks(std::span<const std::byte* const> in, std::span<std::byte* const> out,
                          int64_t count) {
  using T = typename E::Stored;
  using S = typename E::Sum;
  S sum[kBlock] = {};
  T result[kBlock] = {};
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t n = std::min(kBlock, count - begin);
    const T* first = elements<T>(in[0], begin);
    for (int64_t i = 0; i < n; ++i) sum[i] = E::load(first[i]);
    for (size_t k = 1; k < in.size(); ++k) {
      const T* next = elements<T>(in[k], begin);
      for (int64_t i = 0; i < n; ++i) sum[i] = combine<kOp>(sum[i], E::load(next[i]));
    }
    for (int64_t i = 0; i < n; ++i) result[i] = E::store(sum[i]);
    const auto offset = static_cast<size_t>(begin) * sizeof(T);
    for (std::byte* to : out) std::memcpy(to + offset, result, static_cast<size_t>(n) * sizeof(T));
  }
}

template <typename E>
void reduce_as(ReduceOp op, std::span<const std::byte* const> in, std::span<std::byte* const> out,
               int64_t count) {
  if (op == ReduceOp::kSum) {
    reduce_blocks<E, ReduceOp::kSum>(in, out, count);
  } else {
    reduce_blocks<E, ReduceOp::kMax>(in, out, count);
  }
}

}  // namespace

void reduce_range(Dtype dtype, ReduceOp op, std::span<const std::byte* const> in,
                  std::span<std::byte* const> out, int64_t count) {
  switch (dtype) {
    case Dtype::kF64:
      return reduce_as<Plain<double>>(op, in, out, count);
    case Dtype::kF32:
      return reduce_as<Plain<float>>(op, in, out, count);
    case Dtype::kBF16:
      return reduce_as<BF16>(op, in, out, count);
    case Dtype::kF16:
      return reduce_as<F16>(op, in, out, count);
    case Dtype::kI64:
      return reduce_as<Plain<int64_t>>(op, in, out, count);
    case Dtype::kI32:
      return reduce_as<Plain<int32_t>>(op, in, out, count);
    case Dtype::kU8:
      return reduce_as<Plain<uint8_t>>(op, in, out, count);
  }
}

}  // namespace phalanx::comm
