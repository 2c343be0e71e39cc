// File: phalanx/data/numpy_random.h
//
// Purpose: numpy.random.RandomState(seed).shuffle, exactly: Megatron's data order is made with it.
// Algorithm: MT19937 seeded as std::mt19937; for i = n - 1 .. 1 draw j in [0, i] by masked rejection (32-bit outputs,
//   above 2^32 - 1 two of them, the high word first) and swap. std::shuffle draws otherwise and would not agree.
// Contract: one state, used in the order of the calls; seed in [0, 2^32).
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <utility>

namespace phalanx {

class NumpyRandomState {
 public:
  explicit NumpyRandomState(uint32_t seed) : engine_(seed) {}

  // Uniform in [0, max].
  uint64_t interval(uint64_t max) {
    uint64_t mask = max;
    for (const int shift : {1, 2, 4, 8, 16, 32}) mask |= mask >> shift;
    while (true) {
      uint64_t value = engine_();
      if (max > 0xffffffffu) value = value << 32 | engine_();
      value &= mask;
      if (value <= max) return value;
    }
  }

  template <typename T>
  void shuffle(std::span<T> values) {
    for (size_t i = values.size(); i-- > 1;) std::swap(values[i], values[interval(i)]);
  }

 private:
  std::mt19937 engine_;
};

}  // namespace phalanx
