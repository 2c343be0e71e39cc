#include "phalanx/train/interrupt.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>

namespace phalanx {
namespace {

bool blocked(int number) {
  sigset_t mask;
  pthread_sigmask(SIG_BLOCK, nullptr, &mask);
  return sigismember(&mask, number) == 1;
}

int wait_for_signal(const InterruptGuard& guard) {
  for (int i = 0; i < 2000 && guard.signal() == 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return guard.signal();
}

// A handler on the stack of a computing thread would write into the heap: see the header.
TEST(Interrupt, NoComputingThreadEverTakesTheSignals) {
  ASSERT_FALSE(blocked(SIGINT));
  {
    InterruptGuard guard;
    guard.arm();
    EXPECT_TRUE(blocked(SIGINT) && blocked(SIGTERM));
    bool in_new_thread = false;
    std::thread([&] { in_new_thread = blocked(SIGINT) && blocked(SIGTERM); }).join();
    EXPECT_TRUE(in_new_thread);
    EXPECT_EQ(guard.signal(), 0);
    ::kill(::getpid(), SIGTERM);
    EXPECT_EQ(wait_for_signal(guard), SIGTERM);
    ::kill(::getpid(), SIGTERM);  // the same request again, as `timeout` sends it
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_EQ(guard.signal(), SIGTERM);
  }
  EXPECT_FALSE(blocked(SIGINT) || blocked(SIGTERM));
}

TEST(Interrupt, EachGuardStartsAnew) {
  for (int i = 0; i < 2; ++i) {
    InterruptGuard guard;
    guard.arm();
    EXPECT_EQ(guard.signal(), 0);
    ::kill(::getpid(), SIGINT);
    EXPECT_EQ(wait_for_signal(guard), SIGINT);
  }
}

TEST(InterruptDeathTest, ASecondSignalOrOneBeforeArmingEndsTheProcess) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(
      {
        InterruptGuard guard;
        guard.arm();
        ::kill(::getpid(), SIGINT);
        wait_for_signal(guard);
        std::this_thread::sleep_for(std::chrono::milliseconds(600));
        ::kill(::getpid(), SIGINT);
        ::pause();
      },
      testing::ExitedWithCode(130), "");
  EXPECT_EXIT(
      {
        InterruptGuard guard;
        ::kill(::getpid(), SIGTERM);
        ::pause();
      },
      testing::ExitedWithCode(143), "");
}

}  // namespace
}  // namespace phalanx
