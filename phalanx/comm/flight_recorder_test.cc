#include "phalanx/comm/flight_recorder.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/comm/local_hub.h"
#include "phalanx/comm/test_ranks.h"

namespace phalanx::comm {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// The lines of a table with single blanks, and T for every time.
std::vector<std::string> rows(const std::string& text) {
  std::vector<std::string> rows;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string row;
    for (std::string word; words >> word;) {
      const bool time = word.find('.') != std::string::npos;
      row += (row.empty() ? "" : " ") + (time ? "T" : word);
    }
    rows.push_back(row);
  }
  return rows;
}

TEST(FlightRecorder, WritesWhatWasAskedAndHowFarItCame) {
  const TemporaryDirectory folder;
  const std::string path = folder.path() + "/rank_3.flight";
  {
    FlightRecorder recorder(path, 3, 8);
    const uint64_t first = recorder.issue("tp", OpKind::kAllReduce, -1, 0, 4096);
    recorder.started(first);
    recorder.done(first);
    recorder.started(recorder.issue("pp", OpKind::kSend, 7, 12, 8));
    recorder.issue("a group with a name of more than forty letters", OpKind::kBroadcast, 2, 1, 16);
  }
  const FlightLog log = read_flight(path);
  EXPECT_EQ(log.header.rank, 3);
  EXPECT_EQ(log.header.process, ::getpid());
  ASSERT_EQ(log.records.size(), 3u);
  EXPECT_STREQ(log.records[0].state(), "done");
  EXPECT_STREQ(log.records[1].state(), "started");
  EXPECT_STREQ(log.records[2].state(), "issued");
  EXPECT_LE(log.header.began_ns, log.records[0].issued_ns);
  EXPECT_LE(log.records[0].issued_ns, log.records[0].started_ns);
  EXPECT_LE(log.records[0].started_ns, log.records[0].done_ns);
  EXPECT_LE(log.records[0].done_ns, log.records[1].issued_ns);

  const std::string text = flight_text(log, 2);
  EXPECT_THAT(text, AllOf(HasSubstr(fmt::format("rank 3, process {}, began 2", ::getpid())),
                          HasSubstr("UTC: the last 2 of 3 operations\n")));
  EXPECT_THAT(
      text, HasSubstr("  number group            sequence operation                       bytes state        "
                      "issued s  gather ms     run ms\n"));
  const std::vector<std::string> lines = rows(text);
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[2], "2 pp 12 send to rank 7 8 started T T -");
  EXPECT_EQ(lines[3], "3 a group with a name of more than forty l 1 broadcast from rank 2 16 issued T - -");
  EXPECT_THAT(text, Not(HasSubstr("all_reduce")));
}

TEST(FlightRecorder, KeepsTheNewestAndForgetsMarksOfTheOthers) {
  const TemporaryDirectory folder;
  const std::string path = folder.path() + "/ring";
  FlightRecorder recorder(path, 0, 4);
  std::vector<uint64_t> ids;
  for (int i = 0; i < 10; ++i) ids.push_back(recorder.issue("tp", OpKind::kBarrier, -1, i, 0));
  for (const uint64_t id : ids) recorder.started(id);
  recorder.done(ids[1]);  // in whose place another one lies
  recorder.done(ids[8]);
  const FlightLog log = read_flight(path);
  ASSERT_EQ(log.records.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(log.records[i].id, 7 + i);
    EXPECT_EQ(log.records[i].sequence, 6 + static_cast<int64_t>(i));
    EXPECT_STREQ(log.records[i].state(), i == 2 ? "done" : "started");
  }
  EXPECT_THAT(flight_text(log, 100), HasSubstr("the last 4 of 10 operations"));
}

TEST(FlightRecorder, ARestartKeepsTheFileBefore) {
  const TemporaryDirectory folder;
  const std::string path = folder.path() + "/rank_0.flight";
  { FlightRecorder(path, 0, 4).issue("before", OpKind::kBarrier, -1, 5, 0); }
  { FlightRecorder(path, 0, 4).issue("after", OpKind::kBarrier, -1, 0, 0); }
  EXPECT_STREQ(read_flight(path + ".previous").records.at(0).group, "before");
  EXPECT_STREQ(read_flight(path).records.at(0).group, "after");
}

// Two ranks of which one aborts the process in the middle of things; nothing is flushed or closed.
[[noreturn]] void crash(const std::string& folder) {
  const struct rlimit no_core {};
  setrlimit(RLIMIT_CORE, &no_core);
  HubWorld world(2, {.deadline = 20, .flight_folder = folder});
  testing::outcomes(world, [&](int rank) {
    LocalHub& hub = world.hub("tp", {0, 1});
    for (int i = 0; i < 3; ++i) hub.start(rank, {}).wait();
    double x = rank;
    auto* bytes = reinterpret_cast<std::byte*>(&x);
    if (rank == 1) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      std::abort();
    }
    hub.start(rank, {.what = {.kind = OpKind::kAllReduce, .dtype = Dtype::kF64, .shape = {1}},
                     .count = 1,
                     .part = {.in = bytes, .out = bytes}})
        .wait();
  });
  ::_exit(0);
}

TEST(FlightRecorder, OutlivesAnAbort) {
  const TemporaryDirectory folder;
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) crash(folder.path());
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) != 0) << "it was to crash";
  const FlightLog waiting = read_flight(folder.path() + "/rank_0.flight");
  const FlightLog crashed = read_flight(folder.path() + "/rank_1.flight");
  EXPECT_EQ(waiting.header.process, child);
  ASSERT_EQ(waiting.records.size(), 4u);
  ASSERT_EQ(crashed.records.size(), 3u);
  for (const FlightRecord& record : crashed.records) EXPECT_STREQ(record.state(), "done");
  EXPECT_STREQ(waiting.records[3].state(), "issued");
  EXPECT_EQ(waiting.records[3].sequence, 3);
  EXPECT_EQ(waiting.records[3].bytes, 8);
  EXPECT_THAT(flight_text(waiting, 1), AllOf(HasSubstr("all_reduce"), HasSubstr("issued")));
}

void write_quickly(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

std::string reading(const std::string& path) {
  try {
    read_flight(path);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(FlightRecorder, RefusesWhatIsNoRecord) {
  const TemporaryDirectory folder;
  const std::string path = folder.path() + "/record";
  { FlightRecorder(path, 0, 4).issue("tp", OpKind::kBarrier, -1, 0, 0); }
  const std::string good = read_file(path);
  const auto changed = [&](size_t at, char value) {
    std::string bytes = good;
    bytes[at] = value;
    write_quickly(path, bytes);
    return reading(path);
  };
  EXPECT_THAT(changed(0, 'X'), HasSubstr("record: got another kind of file; needed a flight record"));
  EXPECT_THAT(changed(8, 2), HasSubstr("got a flight record of version 2; needed version 1"));
  EXPECT_THAT(changed(16, 9), HasSubstr("got room for 4 records; needed the 9 that its header names"));
  EXPECT_THAT(changed(16, 0), HasSubstr("needed the 0 that its header names"));
  EXPECT_THAT(changed(64, 2), HasSubstr("got record 0 with id 2"));
  EXPECT_THAT(changed(64 + 48, 99), HasSubstr("and kind 99"));
  EXPECT_THAT(changed(55, '\xFF'), HasSubstr("a date that is none"));
  for (const size_t size : {size_t{0}, size_t{63}, size_t{64}, good.size() - 96}) {
    write_quickly(path, good.substr(0, size));
    EXPECT_THAT(reading(path), HasSubstr(size < 64 ? "needed a flight record of at least 64 bytes"
                                                   : "needed the 4 that its header names"));
  }
  EXPECT_THAT(reading(folder.path() + "/none"), HasSubstr("none: got open failed"));
}

TEST(FlightRecorder, SaysWhyItCannotBeMade) {
  const TemporaryDirectory folder;
  try {
    const FlightRecorder recorder(folder.path() + "/missing/rank_0.flight", 0);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kIo);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("missing/rank_0.flight: got create failed: No such file"),
                                    HasSubstr("needed a file that the flight recorder can write")));
  }
}

// A damaged file of any kind is an error or a log, never a crash.
TEST(FlightRecorder, FuzzSurvivesFlippedBytes) {
  const TemporaryDirectory folder;
  const std::string path = folder.path() + "/record";
  {
    FlightRecorder recorder(path, 0, 6);
    for (int i = 0; i < 9; ++i) recorder.done(recorder.issue("group", OpKind::kSend, i, i, 10 * i));
  }
  const std::string good = read_file(path);
  uint64_t state = 1;
  const auto random = [&](uint64_t below) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (state >> 33) % below;
  };
  int read = 0;
  for (int trial = 0; trial < 1000; ++trial) {
    std::string bytes = good;
    for (uint64_t flips = 1 + random(3); flips > 0; --flips)
      bytes[random(bytes.size())] = static_cast<char>(random(256));
    write_quickly(path, bytes);
    try {
      read += flight_text(read_flight(path), 10).empty() ? 0 : 1;
    } catch (const Error&) {
    }
  }
  EXPECT_GT(read, 0);
}

}  // namespace
}  // namespace phalanx::comm
