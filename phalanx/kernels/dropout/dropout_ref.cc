#include "phalanx/kernels/dropout/dropout_ref.h"

#include <ATen/ATen.h>

#include <array>
#include <utility>

namespace phalanx::kernels {
namespace {

constexpr int64_t kMultiplier0 = 0xD2511F53;
constexpr int64_t kMultiplier1 = 0xCD9E8D57;
constexpr int64_t kWeyl0 = 0x9E3779B9;
constexpr int64_t kWeyl1 = 0xBB67AE85;
constexpr int64_t kWord = 0xFFFFFFFF;
constexpr int64_t kHalfWord = 0xFFFF;

Tensor right(const Tensor& tensor, int64_t bits) {
  return at::bitwise_right_shift(tensor, bits);
}

Tensor left(const Tensor& tensor, int64_t bits) {
  return at::bitwise_left_shift(tensor, bits);
}

// High and low word of multiplier * word. The product needs 64 unsigned bits, so it is made of two halves of 48.
std::pair<Tensor, Tensor> multiply(int64_t multiplier, const Tensor& word) {
  const Tensor low = (word & kHalfWord) * multiplier;
  const Tensor high = right(word, 16) * multiplier + right(low, 16);
  return {right(high, 16), left(high & kHalfWord, 16) | (low & kHalfWord)};
}

}  // namespace

// Words are int64 tensors in [0, 2^32); the counter is laid out as base/philox.h says.
Tensor dropout_mask_ref(const Tensor& element_index, const RandomKey& key, uint32_t threshold) {
  const Tensor block = right(element_index, 2);
  const auto purpose = static_cast<int64_t>(key.purpose);
  std::array<Tensor, 4> c = {block & kWord, (right(block, 32) & kHalfWord) | (int64_t{key.layer} << 16),
                             at::full_like(block, key.step & kWord),
                             at::full_like(block, ((key.step >> 32) & 0xFF) | (purpose << 8))};
  int64_t key0 = static_cast<int64_t>(key.seed) & kWord;
  int64_t key1 = static_cast<int64_t>(key.seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const auto [high0, low0] = multiply(kMultiplier0, c[0]);
    const auto [high1, low1] = multiply(kMultiplier1, c[2]);
    c = {high1 ^ c[1] ^ key0, low1, high0 ^ c[3] ^ key1, low0};
    key0 = (key0 + kWeyl0) & kWord;
    key1 = (key1 + kWeyl1) & kWord;
  }
  const Tensor lane = element_index & 3;
  const Tensor first = at::where(lane == 0, c[0], c[1]);
  const Tensor second = at::where(lane == 2, c[2], c[3]);
  return at::where(lane < 2, first, second) < int64_t{threshold};
}

}  // namespace phalanx::kernels
