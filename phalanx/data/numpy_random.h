// File: phalanx/data/numpy_random.h
//
// Purpose: numpy.random.RandomState(seed).shuffle, exactly: Megatron's data order is made with it.
// Algorithm: MT19937 seeded as std::mt19937; for i = n - 1 .. 1 draw j in [0, i] by masked rejection (32-bit outputs,
//   above 2^32 - 1 two of them, the high word first) and swap. std::shuffle draws otherwise and would not agree.
//   Words are made 624 at a time, draws ahead of the swaps, so that the cache lines of a swap are on their way.
// Contract: one state, used in the order of the calls; seed in [0, 2^32).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace phalanx {

class NumpyRandomState {
 public:
  explicit NumpyRandomState(uint32_t seed);

  uint32_t next() {
    if (used_ == kWords) refill();
    return words_[used_++];
  }

  // Uniform in [0, max].
  uint64_t interval(uint64_t max);

  template <typename T>
  void shuffle(std::span<T> values) {
    size_t i = values.size();
    for (; i > size_t{1} << 32; --i) std::swap(values[i - 1], values[interval(i - 1)]);
    std::array<uint32_t, kDraws> now{}, ahead{};
    size_t count = draw(i, now);
    prefetch(values, now, count);
    while (count > 0) {
      const size_t next_count = draw(i - count, ahead);
      prefetch(values, ahead, next_count);
      for (size_t k = 0; k < count; ++k) std::swap(values[i - 1 - k], values[now[k]]);
      i -= count;
      std::swap(now, ahead);
      count = next_count;
    }
  }

 private:
  static constexpr size_t kWords = 624;
  static constexpr size_t kDraws = 128;

  // The swap targets of the last places of an array of `size` elements: of size - 1, size - 2, ... Returns how many.
  size_t draw(size_t size, std::span<uint32_t, kDraws> targets);
  void refill();

  template <typename T>
  static void prefetch(std::span<T> values, std::span<const uint32_t> targets, size_t count) {
    for (size_t k = 0; k < count; ++k) __builtin_prefetch(&values[targets[k]], 1);
  }

  alignas(64) std::array<uint32_t, kWords> state_{};
  alignas(64) std::array<uint32_t, kWords> words_{};  // of the state, tempered
  size_t used_ = kWords;
};

}  // namespace phalanx
