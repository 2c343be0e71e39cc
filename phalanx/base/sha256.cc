#include "phalanx/base/sha256.h"

#include <algorithm>
#include <bit>

#include <fmt/format.h>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

using Wide = unsigned __int128;

constexpr std::array<uint32_t, 64> first_primes() {
  std::array<uint32_t, 64> primes{};
  size_t found = 0;
  for (uint32_t n = 2; found < primes.size(); ++n) {
    bool prime = true;
    for (size_t i = 0; i < found; ++i) prime = prime && n % primes[i] != 0;
    if (prime) primes[found++] = n;
  }
  return primes;
}

constexpr std::array<uint32_t, 64> kPrimes = first_primes();

// The first 32 bits of the fraction of a prime's root of `degree` 2 or 3: the root of p 2^(32 degree), in integers.
constexpr uint32_t root_fraction(uint32_t prime, int degree) {
  const Wide target = Wide{prime} << (32 * degree);
  uint64_t root = 0;
  for (int bit = 36; bit >= 0; --bit) {
    const uint64_t next = root | uint64_t{1} << bit;
    const Wide square = Wide{next} * next;
    if ((degree == 2 ? square : square * next) <= target) root = next;
  }
  return static_cast<uint32_t>(root);
}

// The constants by their definition, so that no table can hold a slip.
constexpr std::array<uint32_t, 64> round_constants() {
  std::array<uint32_t, 64> k{};
  for (size_t i = 0; i < k.size(); ++i) k[i] = root_fraction(kPrimes[i], 3);
  return k;
}

constexpr std::array<uint32_t, 8> initial_state() {
  std::array<uint32_t, 8> h{};
  for (size_t i = 0; i < h.size(); ++i) h[i] = root_fraction(kPrimes[i], 2);
  return h;
}

constexpr std::array<uint32_t, 64> kRound = round_constants();
constexpr std::array<uint32_t, 8> kInitial = initial_state();

}  // namespace

Sha256::Sha256() : state_(kInitial) {}

void Sha256::absorb(const uint8_t* block) {
  std::array<uint32_t, 64> w{};
  for (size_t i = 0; i < 16; ++i) {
    const uint8_t* b = block + 4 * i;
    w[i] = uint32_t{b[0]} << 24 | uint32_t{b[1]} << 16 | uint32_t{b[2]} << 8 | uint32_t{b[3]};
  }
  for (size_t i = 16; i < w.size(); ++i) {
    const uint32_t s0 = std::rotr(w[i - 15], 7) ^ std::rotr(w[i - 15], 18) ^ w[i - 15] >> 3;
    const uint32_t s1 = std::rotr(w[i - 2], 17) ^ std::rotr(w[i - 2], 19) ^ w[i - 2] >> 10;
    w[i] = s1 + w[i - 7] + s0 + w[i - 16];
  }
  auto [a, b, c, d, e, f, g, h] = state_;
  for (size_t i = 0; i < w.size(); ++i) {
    const uint32_t sum1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
    const uint32_t t1 = h + sum1 + ((e & f) ^ (~e & g)) + kRound[i] + w[i];
    const uint32_t sum0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
    const uint32_t t2 = sum0 + ((a & b) ^ (a & c) ^ (b & c));
    h = g;
    g = f;
    f = e;
    e = d + t1;
    d = c;
    c = b;
    b = a;
    a = t1 + t2;
  }
  const std::array<uint32_t, 8> worked = {a, b, c, d, e, f, g, h};
  for (size_t i = 0; i < worked.size(); ++i) state_[i] += worked[i];
}

void Sha256::update(std::string_view bytes) {
  PHALANX_CHECK(!ended_, "the digest was asked for already");
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  size_t left = bytes.size();
  size_t filled = size_ % waiting_.size();
  size_ += left;
  while (left > 0) {
    const size_t take = std::min(left, waiting_.size() - filled);
    if (take == waiting_.size()) {
      absorb(data);
    } else {
      std::copy_n(data, take, waiting_.begin() + static_cast<std::ptrdiff_t>(filled));
      filled += take;
      if (filled == waiting_.size()) {
        absorb(waiting_.data());
        filled = 0;
      }
    }
    data += take;
    left -= take;
  }
}

std::string Sha256::hex() {
  const uint64_t bits = size_ * 8;
  std::string end = "\x80";  // then zeros, so that the length in bits ends a block
  while ((size_ + end.size()) % waiting_.size() != waiting_.size() - 8) end += '\0';
  for (int shift = 56; shift >= 0; shift -= 8) end += static_cast<char>(bits >> shift & 0xff);
  update(end);
  ended_ = true;
  std::string text;
  for (const uint32_t word : state_) text += fmt::format("{:08x}", word);
  return text;
}

std::string sha256_hex(std::string_view bytes) {
  Sha256 digest;
  digest.update(bytes);
  return digest.hex();
}

}  // namespace phalanx
