// File: phalanx/train/interrupt.h
//
// Purpose: SIGINT and SIGTERM ask the loop to save and stop after the current step; a second one ends at once.
// Contract: at most one guard lives at a time; its destructor restores the earlier handlers. A signal handler can reach
//   nothing but a global, so the flag is the one global of the program.
#pragma once

#include <csignal>

namespace phalanx {

class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  // 0, or the signal that arrived.
  int signal() const;

 private:
  struct sigaction old_int_ {};
  struct sigaction old_term_ {};
};

}  // namespace phalanx
