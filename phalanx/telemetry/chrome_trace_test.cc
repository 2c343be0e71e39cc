#include "phalanx/telemetry/chrome_trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <cmath>
#include <thread>
#include <vector>

#include "phalanx/base/fs.h"
#include "phalanx/base/json.h"
#include "phalanx/telemetry/test_errors.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;

class ChromeTrace : public ::testing::Test {
 protected:
  std::function<double()> clock() {
    return [this] { return now_; };
  }
  Json read() const { return parse_json(read_file(path_), path_); }
  TemporaryDirectory folder_;
  std::string path_ = folder_.path() + "/trace.json";
  double now_ = 500;
};

TEST_F(ChromeTrace, EventsHaveTheFieldsViewersNeed) {
  ChromeTraceWriter trace(path_, clock());
  trace.name_process(3, "rank 3");
  trace.name_thread({3, 7}, "compute \"stream\"");
  now_ += 0.001;
  trace.complete(
      {3, 7}, "forward", "compute", trace.now_us(), trace.now_us() + 12.5,
      std::vector<TraceArg>{{"micro_batch", int64_t{4}}, {"loss", std::nan("")}, {"what", "a\"\n"}});
  trace.instant({3, 0}, "checkpoint", "io");
  trace.counter(3, "stash bytes", 1e9);
  trace.close();
  trace.close();
  const Json events = read();
  ASSERT_EQ(events.size(), 7u);
  EXPECT_EQ(events[0].dump(), R"({"ph":"M","name":"process_name","pid":3,"tid":0,"args":{"name":"rank 3"}})");
  EXPECT_EQ(events[1]["args"]["sort_index"], 3);
  EXPECT_EQ(events[2]["args"]["name"], "compute \"stream\"");
  EXPECT_EQ(events[3]["name"], "thread_sort_index");
  EXPECT_EQ(events[4].dump(),
            R"({"ph":"X","name":"forward","cat":"compute","pid":3,"tid":7,"ts":1000.0,"dur":12.5,)"
            R"("args":{"micro_batch":4,"loss":"NaN","what":"a\"\n"}})");
  EXPECT_EQ(events[5]["ph"], "i");
  EXPECT_EQ(events[5]["s"], "t");
  EXPECT_EQ(events[6].dump(),
            R"({"ph":"C","name":"stash bytes","pid":3,"tid":0,"ts":1000.0,"args":{"value":1000000000.0}})");
}

TEST_F(ChromeTrace, SpansMeasureTheirScopeAndANullWriterIsFine) {
  {
    ChromeTraceWriter trace(path_, clock());
    TraceSpan outer(&trace, {0, 0}, "step", "train");
    now_ += 0.002;
    {
      TraceSpan inner(&trace, {0, 0}, "forward", "train", {{"chunk", int64_t{1}}});
      now_ += 0.003;
    }
    TraceSpan nothing(nullptr, {0, 0}, "x", "y");
  }  // the span ends before the writer, whose destructor closes the array
  const Json events = read();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0]["name"], "forward");
  EXPECT_NEAR(events[0]["ts"].get<double>(), 2000, 1e-3);
  EXPECT_NEAR(events[0]["dur"].get<double>(), 3000, 1e-3);
  EXPECT_EQ(events[0]["args"]["chunk"], 1);
  EXPECT_NEAR(events[1]["dur"].get<double>(), 5000, 1e-3);
}

// At any moment the file is an array of whole events but for its bracket, at most a second behind.
TEST_F(ChromeTrace, AKilledRunLeavesAReadableTrace) {
  ChromeTraceWriter trace(path_, clock());
  EXPECT_EQ(parse_json(read_file(path_) + "]", "x").size(), 0u);
  for (int i = 0; i < 10; ++i) trace.instant({}, "tick", "t");
  EXPECT_EQ(parse_json(read_file(path_) + "]", "x").size(), 0u);
  now_ += ChromeTraceWriter::kFlushSeconds;
  trace.instant({}, "tick", "t");
  EXPECT_EQ(parse_json(read_file(path_) + "]", "x").size(), 11u);
  trace.instant({}, "tick", "t");
  trace.flush();
  EXPECT_EQ(parse_json(read_file(path_) + "]", "x").size(), 12u);
  const std::string long_name(ChromeTraceWriter::kFlushBytes, 'n');
  trace.instant({}, long_name, "t");
  EXPECT_EQ(parse_json(read_file(path_) + "]", "x").size(), 13u);
}

TEST_F(ChromeTrace, NamesThatAreNoUtf8DoNotBreakTheFile) {
  ChromeTraceWriter trace(path_, clock());
  trace.instant({}, "a\xFF\x01z", "t");
  trace.close();
  EXPECT_EQ(read()[0]["name"], "a\uFFFD\u0001z");
}

TEST_F(ChromeTrace, ManyThreadsWriteWholeEvents) {
  {
    ChromeTraceWriter trace(path_);
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&trace, t] {
        for (int i = 0; i < 2000; ++i) TraceSpan span(&trace, {t, 0}, "work", "test", {{"i", int64_t{i}}});
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  const Json events = read();
  ASSERT_EQ(events.size(), 16000u);
  std::vector<int64_t> next(8, 0);
  std::vector<double> last(8, 0);
  for (const Json& event : events) {
    const int pid = event["pid"].get<int>();
    ASSERT_EQ(event["args"]["i"].get<int64_t>(), next[pid]++);
    ASSERT_GE(event["ts"].get<double>(), last[pid]);  // monotonic
    last[pid] = event["ts"].get<double>();
  }
}

// A limit on the file size stands for a disk that fills up in the middle of a run.
TEST_F(ChromeTrace, AFullDiskGivesUpTheTraceAndNotTheRun) {
  ChromeTraceWriter trace(path_, clock());
  trace.instant({}, "before", "t");
  trace.flush();
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  struct rlimit small = before;
  small.rlim_cur = read_file(path_).size() + 10;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  trace.instant({}, "lost", "t");
  const Error first = error_of([&] { trace.flush(); });
  ::setrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, handler);
  EXPECT_EQ(first.kind(), ErrorKind::kIo);
  EXPECT_THAT(first.what(), HasSubstr("write failed: File too large"));
  now_ += 10;
  trace.instant({}, "dropped", "t");
  { TraceSpan span(&trace, {}, "dropped", "t"); }
  EXPECT_STREQ(error_of([&] { trace.close(); }).what(), first.what());
  const Json events = parse_json(read_file(path_) + "]", path_);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0]["name"], "before");
}

TEST_F(ChromeTrace, FailuresAreIoErrors) {
  const Error missing = error_of([&] { ChromeTraceWriter trace(folder_.path() + "/no/trace.json"); });
  EXPECT_EQ(missing.kind(), ErrorKind::kIo);
  EXPECT_THAT(missing.what(), HasSubstr("/no/trace.json: got open failed: No such file"));
  const Error full = error_of([] { ChromeTraceWriter trace("/dev/full"); });
  EXPECT_THAT(full.what(), HasSubstr("/dev/full: got write failed: No space left on device"));
}

}  // namespace
}  // namespace phalanx
