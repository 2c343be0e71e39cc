// File: phalanx/shard/checksum.h
//
// Purpose: a fast checksum of file contents, so that a flipped bit is found when a checkpoint is verified.
// Contract: XXH3 with 64 bits (not a cryptographic hash), written as 16 hexadecimal digits.
// Example: Checksum sum; sum.update(bytes); uint64_t value = sum.digest();
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace phalanx {

class Checksum {
 public:
  Checksum();
  ~Checksum();
  Checksum(Checksum&&) noexcept;
  Checksum& operator=(Checksum&&) noexcept;
  void update(std::span<const std::byte> bytes);
  uint64_t digest() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

uint64_t checksum_of(std::span<const std::byte> bytes);

std::string checksum_to_text(uint64_t checksum);
std::optional<uint64_t> checksum_from_text(std::string_view text);

}  // namespace phalanx
