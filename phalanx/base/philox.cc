#include "phalanx/base/philox.h"

#include <cmath>
#include <numbers>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

constexpr uint32_t kMultiplier0 = 0xD2511F53u;
constexpr uint32_t kMultiplier1 = 0xCD9E8D57u;
constexpr uint32_t kWeyl0 = 0x9E3779B9u;
constexpr uint32_t kWeyl1 = 0xBB67AE85u;

}  // namespace

PhiloxBlock philox4x32_10(PhiloxBlock c, uint64_t key) {
  auto k0 = static_cast<uint32_t>(key);
  auto k1 = static_cast<uint32_t>(key >> 32);
#pragma GCC unroll 10  // twice as fast: the keys become constants
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{kMultiplier0} * c[0];
    const uint64_t p1 = uint64_t{kMultiplier1} * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += kWeyl0;
    k1 += kWeyl1;
  }
  return c;
}

PhiloxBlock philox_block(const RandomKey& key, uint64_t block) {
  PHALANX_CHECK(block < static_cast<uint64_t>(kMaxPhiloxElements) / 4,
                "random elements have indices below 2^50");
  const auto step = static_cast<uint64_t>(key.step);
  const PhiloxBlock counter = {
      static_cast<uint32_t>(block),
      static_cast<uint32_t>((block >> 32) & 0xFFFFu) | (static_cast<uint32_t>(key.layer) << 16),
      static_cast<uint32_t>(step),
      static_cast<uint32_t>((step >> 32) & 0xFFu) | (static_cast<uint32_t>(key.purpose) << 8)};
  return philox4x32_10(counter, key.seed);
}

uint32_t philox_u32(const RandomKey& key, uint64_t element) {
  return philox_block(key, element / 4)[element % 4];
}

float philox_uniform(const RandomKey& key, uint64_t element) {
  return static_cast<float>(philox_u32(key, element) >> 8) * 0x1.0p-24f;
}

std::array<double, 4> philox_normal_block(const RandomKey& key, uint64_t block) {
  const PhiloxBlock words = philox_block(key, block);
  std::array<double, 4> normals{};
  for (size_t pair = 0; pair < 4; pair += 2) {
    const double u = (words[pair] + 0.5) * 0x1.0p-32;
    const double v = (words[pair + 1] + 0.5) * 0x1.0p-32;
    const double radius = std::sqrt(-2.0 * std::log(u));
    const double angle = 2.0 * std::numbers::pi * v;
    normals[pair] = radius * std::cos(angle);
    normals[pair + 1] = radius * std::sin(angle);
  }
  return normals;
}

double philox_normal(const RandomKey& key, uint64_t element) {
  return philox_normal_block(key, element / 4)[element % 4];
}

uint32_t dropout_threshold(double p) {
  return static_cast<uint32_t>(std::llround(p * 0x1.0p32));
}

}  // namespace phalanx
