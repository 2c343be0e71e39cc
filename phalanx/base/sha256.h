// File: phalanx/base/sha256.h
//
// Purpose: SHA-256 of bytes, so that a made set can be compared by one line of text.
// Contract: feed the bytes in pieces of any size, then ask once: hex() ends the message; update() after it is a bug.
// Units: bytes; the digest is 64 lower-case hexadecimal digits, as sha256sum prints it.
// Source: FIPS 180-4, sections 4.1.2, 4.2.2, 5.1.1, 5.3.3 and 6.2.
// Example: sha256_hex("abc") = "ba7816bf..."
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace phalanx {

class Sha256 {
 public:
  Sha256();
  void update(std::string_view bytes);
  std::string hex();

 private:
  void absorb(const uint8_t* block);

  std::array<uint32_t, 8> state_{};
  std::array<uint8_t, 64> waiting_{};  // what does not fill a block yet
  uint64_t size_ = 0;
  bool ended_ = false;
};

std::string sha256_hex(std::string_view bytes);

}  // namespace phalanx
