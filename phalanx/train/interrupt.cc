#include "phalanx/train/interrupt.h"

#include <fmt/format.h>
#include <pthread.h>
#include <unistd.h>

#include "phalanx/base/clock.h"
#include "phalanx/base/log.h"

namespace phalanx {
namespace {

// `timeout` and launchers signal the process and then its group: two deliveries of one request.
constexpr double kSameRequestSeconds = 0.5;

}  // namespace

InterruptGuard::InterruptGuard() {
  sigemptyset(&signals_);
  sigaddset(&signals_, SIGINT);
  sigaddset(&signals_, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals_, &old_mask_);
  watcher_ = std::thread([this] { watch(); });
}

InterruptGuard::~InterruptGuard() {
  leaving_ = true;
  pthread_kill(watcher_.native_handle(), SIGTERM);  // blocked there too: it only ends the wait
  watcher_.join();
  pthread_sigmask(SIG_SETMASK, &old_mask_, nullptr);
}

void InterruptGuard::watch() {
  double first_at = 0;
  while (true) {
    int number = 0;
    if (sigwait(&signals_, &number) != 0) continue;
    if (leaving_) return;
    if (!armed_) ::_exit(128 + number);  // nothing to save yet
    const double now = monotonic_seconds();
    if (received_ == 0) {
      received_ = number;
      first_at = now;
      log_warning(fmt::format("{}: saving and stopping after this step; once more ends at once",
                              number == SIGINT ? "SIGINT" : "SIGTERM"));
    } else if (now - first_at > kSameRequestSeconds) {
      ::_exit(128 + number);  // the user insists
    }
  }
}

}  // namespace phalanx
