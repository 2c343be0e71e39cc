#include "phalanx/data/numpy_random.h"

#include <bit>
#include <cstring>

namespace phalanx {
namespace {

// Four words at once: every 64-bit machine has such registers, and the compiler the operators.
using Words4 = uint32_t __attribute__((vector_size(16)));

Words4 load(const uint32_t* from) {
  Words4 value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}
void store(uint32_t* to, Words4 value) {
  std::memcpy(to, &value, sizeof(value));
}

constexpr size_t kStep = 397;  // how far the word lies that enters

template <typename Word>
Word twist(Word word, Word next, Word far) {
  const Word mixed = (word & 0x80000000u) | (next & 0x7fffffffu);
  return far ^ (mixed >> 1) ^ (-(next & 1u) & 0x9908b0dfu);
}

template <typename Word>
Word temper(Word y) {
  y ^= y >> 11;
  y ^= (y << 7) & 0x9d2c5680u;
  y ^= (y << 15) & 0xefc60000u;
  return y ^ (y >> 18);
}

}  // namespace

NumpyRandomState::NumpyRandomState(uint32_t seed) {
  state_[0] = seed;
  for (uint32_t i = 1; i < kWords; ++i) {
    state_[i] = 1812433253u * (state_[i - 1] ^ (state_[i - 1] >> 30)) + i;
  }
}

void NumpyRandomState::refill() {
  uint32_t* s = state_.data();
  constexpr size_t kHead =
      kWords - kStep;  // the words before it take from the old state, the others from the new
  size_t i = 0;
  for (; i + 4 <= kHead; i += 4) store(s + i, twist(load(s + i), load(s + i + 1), load(s + i + kStep)));
  for (; i < kHead; ++i) s[i] = twist(s[i], s[i + 1], s[i + kStep]);
  for (; i + 4 < kWords; i += 4) store(s + i, twist(load(s + i), load(s + i + 1), load(s + i - kHead)));
  for (; i < kWords; ++i) s[i] = twist(s[i], s[(i + 1) % kWords], s[i - kHead]);
  for (i = 0; i < kWords; i += 4) store(&words_[i], temper(load(s + i)));
  used_ = 0;
}

uint64_t NumpyRandomState::interval(uint64_t max) {
  if (max == 0) return 0;
  const uint64_t mask = ~uint64_t{0} >> std::countl_zero(max);
  while (true) {
    uint64_t value = next();
    if (max > 0xffffffffu) value = value << 32 | next();
    value &= mask;
    if (value <= max) return value;
  }
}

size_t NumpyRandomState::draw(size_t size, std::span<uint32_t, kDraws> targets) {
  if (size < 2) return 0;
  const auto max = static_cast<uint32_t>(size - 1);
  const uint32_t mask = ~uint32_t{0} >> std::countl_zero(max);
  // As long as the mask is the same: down to the power of two.
  const size_t wanted = std::min<size_t>(kDraws, max - mask / 2);
  size_t count = 0;
  while (count < wanted) {
    if (used_ == kWords) refill();
    // A word is at most one draw, so that this many need no look at `count`. A rejected one is written over.
    const size_t words = std::min(wanted - count, kWords - used_);
    for (size_t w = 0; w < words; ++w) {
      const uint32_t value = words_[used_ + w] & mask;
      targets[count] = value;
      count += value <= max - static_cast<uint32_t>(count) ? 1 : 0;
    }
    used_ += words;
  }
  return wanted;
}

}  // namespace phalanx
