#include "phalanx/train/interrupt.h"

#include <unistd.h>

namespace phalanx {
namespace {

volatile std::sig_atomic_t received_signal = 0;  // house: signal flag

void on_signal(int number) {
  if (received_signal != 0) ::_exit(128 + number);  // the user insists
  received_signal = number;
}

}  // namespace

InterruptGuard::InterruptGuard() {
  received_signal = 0;
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGINT, &action, &old_int_);
  ::sigaction(SIGTERM, &action, &old_term_);
}

InterruptGuard::~InterruptGuard() {
  ::sigaction(SIGINT, &old_int_, nullptr);
  ::sigaction(SIGTERM, &old_term_, nullptr);
}

int InterruptGuard::signal() const {
  return received_signal;
}

}  // namespace phalanx
