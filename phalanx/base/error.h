// File: phalanx/base/error.h
//
// Purpose: the two kinds of failure. A user's mistake throws Error, which says where it is, what was got, what
//   was needed and how to fix it; its kind decides the exit code. A bug of ours aborts through PHALANX_CHECK.
// Contract: what() is "WHERE: got GOT; needed NEEDED. Fix: FIX" (empty parts are left out) and is asserted by tests.
// Example:
//   throw Error(ErrorKind::kBadInput, {.where = path, .got = "0 bytes", .needed = "a 34-byte header", .fix = "..."});
#pragma once

#include <stdexcept>
#include <string>

namespace phalanx {

// The values are the exit codes of `phalanx`.
enum class ErrorKind { kUsage = 2, kBadInput = 3, kIo = 4, kPeer = 5, kNumeric = 6 };

struct ErrorParts {
  std::string where;
  std::string got;
  std::string needed;
  std::string fix;
};

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, ErrorParts parts);
  ErrorKind kind() const { return kind_; }
  int exit_code() const { return static_cast<int>(kind_); }
  const ErrorParts& parts() const { return parts_; }

 private:
  ErrorKind kind_;
  ErrorParts parts_;
};

// The name in `known` closest to `name` by edit distance, or "" when none is near. For "did you mean".
template <typename Container>
std::string nearest_name(const std::string& name, const Container& known);

int edit_distance(const std::string& a, const std::string& b);

// Throws Error(kBadInput).
[[noreturn]] void bad_input(const std::string& where, const std::string& got, const std::string& needed,
                            const std::string& fix);

[[noreturn]] void check_failed(const char* file, int line, const char* condition, const std::string& message);

template <typename Container>
std::string nearest_name(const std::string& name, const Container& known) {
  std::string best;
  int best_distance = static_cast<int>(name.size()) / 2 + 1;  // further away than half the word is no typo
  for (const auto& candidate : known) {
    const int d = edit_distance(name, std::string(candidate));
    if (d < best_distance) {
      best_distance = d;
      best = std::string(candidate);
    }
  }
  return best;
}

}  // namespace phalanx

// For programmer errors only: prints file, line, condition and message, then aborts.
#define PHALANX_CHECK(condition, message)                                               \
  do {                                                                                  \
    if (!(condition)) ::phalanx::check_failed(__FILE__, __LINE__, #condition, message); \
  } while (false)
