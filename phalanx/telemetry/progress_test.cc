#include "phalanx/telemetry/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace phalanx {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// A terminal that shows its last line, and a clock that is set by hand.
struct Screen {
  double now = 1000;
  std::string written;
  TextSink sink() {
    return [this](std::string_view text) { written += text; };
  }
  Clock clock() {
    return [this] { return now; };
  }
  // What stands on the current line: after the last carriage return or newline, without the erase code.
  std::string line() const {
    std::string text = written.substr(written.find_last_of("\r\n") + 1);
    const size_t erase = text.find("\x1b[K");
    return erase == std::string::npos ? text : text.erase(erase, 3);
  }
};

StepMetrics at(int64_t step) {
  return {.step = step,
          .loss = 3.41234,
          .grad_norm = 0.8125,
          .lr = 6e-4,
          .tokens_per_s = 12345,
          .tflops = 1.934,
          .mfu = 0.431,
          .seconds = 0.5};
}

constexpr Terminal kTty{.is_terminal = true, .columns = 120};

TEST(RateWindow, ForgetsOldSpeedAndKnowsSlowJobs) {
  RateWindow rate;
  EXPECT_EQ(rate.per_second(), 0);
  EXPECT_EQ(rate.seconds_left(10), INFINITY);
  rate.add(0, 0);
  EXPECT_EQ(rate.seconds_left(0), 0);
  for (int t = 1; t <= 100; ++t) rate.add(t, t);
  EXPECT_DOUBLE_EQ(rate.per_second(), 1.0);
  for (int t = 1; t <= 31; ++t) rate.add(100 + t, 100 + 5 * t);
  EXPECT_DOUBLE_EQ(rate.per_second(), 5.0);
  EXPECT_DOUBLE_EQ(rate.seconds_left(255 + 100), 20.0);

  RateWindow slow;  // a step takes longer than the window
  slow.add(0, 0);
  slow.add(100, 1);
  slow.add(200, 2);
  EXPECT_DOUBLE_EQ(slow.per_second(), 0.01);

  RateWindow fast;  // many updates within the spacing
  for (int i = 0; i <= 1000; ++i) fast.add(i * 1e-4, i);
  EXPECT_NEAR(fast.per_second(), 1e4, 1e-6);
}

TEST(ProgressLine, RewritesItsLineOnATerminal) {
  Screen screen;
  ProgressLine line({.total_steps = 200, .terminal = kTty}, screen.sink(), screen.clock());
  for (int step = 1; step <= 3; ++step) {
    screen.now += 0.5;
    line.update(at(step));
  }
  EXPECT_EQ(screen.written, "");  // less than two seconds
  screen.now += 0.5;
  line.update(at(4));
  EXPECT_EQ(screen.line(),
            "step 4/200 [................] 2.0%  loss 3.4123  12.3k tokens/s  MFU 43.1%  1m38s left");
  screen.now += 0.05;
  line.update(at(5));
  EXPECT_THAT(screen.line(), HasSubstr("step 4/200"));  // at most ten times a second
  screen.now += 0.06;
  line.update(at(100));
  EXPECT_THAT(screen.line(), HasSubstr("step 100/200 [########........] 50.0%"));
  EXPECT_THAT(screen.written, Not(HasSubstr("\n")));

  line.clear();
  EXPECT_EQ(screen.line(), "");
  line.clear();
  line.update(at(101));  // shown again at once
  EXPECT_THAT(screen.line(), HasSubstr("step 101/200"));
  line.update(at(102));
  line.finish();
  EXPECT_THAT(screen.written, HasSubstr("step 102/200"));
  EXPECT_TRUE(screen.written.ends_with("\n"));
  const std::string before = screen.written;
  line.finish();
  EXPECT_EQ(screen.written, before);
}

TEST(ProgressLine, ValidationLossAndNonFiniteValuesAreShown) {
  Screen screen;
  ProgressLine line({.total_steps = 10, .terminal = kTty}, screen.sink(), screen.clock());
  screen.now += 3;
  StepMetrics metrics = at(1);
  metrics.loss = std::nan("");
  metrics.mfu = std::nan("");
  metrics.valid_loss = 3.5;
  line.update(metrics);
  EXPECT_THAT(screen.line(), HasSubstr("loss nan, valid 3.5000  12.3k tokens/s  MFU --  27s left"));
}

TEST(ProgressLine, IsSilentWithoutATerminal) {
  Screen screen;
  ProgressLine line({.total_steps = 10, .terminal = {.is_terminal = false}}, screen.sink(), screen.clock());
  for (int step = 1; step <= 10; ++step) {
    screen.now += 10;
    line.update(at(step));
  }
  line.clear();
  line.finish();
  EXPECT_EQ(screen.written, "");
}

TEST(ProgressLine, PlainLinesAreDueAtTheIntervalAndTheEnds) {
  Screen screen;
  const ProgressLine line({.total_steps = 25, .first_step = 4, .log_interval = 10}, screen.sink(),
                          screen.clock());
  std::vector<int64_t> due;
  for (int64_t step = 4; step <= 25; ++step) {
    if (line.log_due(step)) due.push_back(step);
  }
  EXPECT_EQ(due, (std::vector<int64_t>{4, 10, 20, 25}));
}

TEST(ProgressLine, ThePlainLineHasEverything) {
  Screen screen;
  ProgressLine line({.total_steps = 200, .first_step = 101}, screen.sink(), screen.clock());
  screen.now += 5;
  StepMetrics metrics = at(110);  // ten steps in five seconds: 90 more take 45
  line.update(metrics);
  EXPECT_DOUBLE_EQ(line.seconds_left(), 45.0);
  EXPECT_EQ(
      line.log_line(metrics),
      "step 110/200 | loss 3.4123 | grad norm 0.812 | lr 6.000e-04 | 12.3k tokens/s | 1.93 TFLOP/s | MFU 43.1% | "
      "0.50s a step | 45s left");
  metrics.loss_scale = 65536;
  metrics.skipped = true;
  EXPECT_THAT(line.log_line(metrics), ::testing::EndsWith(" | 45s left | loss scale 65536 | update skipped"));
  metrics.skipped = false;
  EXPECT_THAT(line.log_line(metrics), Not(HasSubstr("skipped")));
  metrics.data_stall = 0.009;
  EXPECT_THAT(line.log_line(metrics), Not(HasSubstr("waiting")));
  metrics.data_stall = 0.25;
  EXPECT_THAT(line.log_line(metrics), HasSubstr(" | waiting for data 25.0%"));
}

TEST(ProgressBar, ShowsAmountSpeedAndTimeLeft) {
  Screen screen;
  ProgressBar bar({.title = "tokenizing", .total = 2.5e9, .unit = ProgressUnit::kBytes, .terminal = kTty},
                  screen.sink(), screen.clock());
  screen.now += 4;
  bar.update(1e9);
  EXPECT_EQ(screen.line(),
            "tokenizing [#########...............] 40.0%  1.00 GB of 2.50 GB  250 MB/s  6.0s left");
  screen.now += 6;
  bar.update(2.5e9);
  bar.finish();
  EXPECT_THAT(screen.written, HasSubstr("100%  2.50 GB of 2.50 GB  250 MB/s  in 10s\x1b[K\n"));
}

TEST(ProgressBar, WithoutATotalThereIsNoForecast) {
  Screen screen;
  ProgressBar bar({.title = "reading", .terminal = kTty}, screen.sink(), screen.clock());
  screen.now += 4;
  bar.update(8000);
  EXPECT_EQ(screen.line(), "reading  8.00k  2.00k/s");
}

TEST(ProgressBar, ShortJobsShowNothing) {
  Screen screen;
  ProgressBar bar({.title = "reading", .total = 10, .terminal = kTty}, screen.sink(), screen.clock());
  screen.now += 1;
  bar.update(10);
  bar.finish();
  EXPECT_EQ(screen.written, "");
}

TEST(ProgressBar, NeverWiderThanTheTerminal) {
  for (int columns : {1, 4, 20, 40}) {
    Screen screen;
    ProgressBar bar(
        {.title = "größe über alles", .total = 10, .terminal = {.is_terminal = true, .columns = columns}},
        screen.sink(), screen.clock());
    screen.now += 4;
    bar.update(5);
    int width = 0;
    for (const char c : screen.line()) width += (static_cast<unsigned char>(c) & 0xC0) != 0x80 ? 1 : 0;
    EXPECT_LE(width, std::max(3, columns - 1));
    if (columns == 20) {
      EXPECT_EQ(screen.line(), "größe über alles...");
    }
  }
}

}  // namespace
}  // namespace phalanx
