// `phalanx schedule` as a user runs it: what it prints, writes, refuses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "phalanx/base/json.h"
#include "tests/program.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using testing::Ran;

class ScheduleVerb : public ::testing::Test {
 protected:
  std::string at(const std::string& name) const { return folder_.path() + "/" + name; }
  void put(const std::string& name, const std::string& bytes) {
    std::ofstream(at(name), std::ios::binary | std::ios::trunc) << bytes;
  }
  Ran run(const std::string& arguments) const {
    return testing::run_program("schedule " + arguments, folder_.path());
  }
  std::vector<std::string> left() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) {
      if (entry.path().filename().string()[0] != '.') names.push_back(entry.path().filename());
    }
    std::sort(names.begin(), names.end());
    return names;
  }
  Json schedule(const std::string& arguments) const {
    const Ran ran = run(arguments + " --json");
    EXPECT_EQ(ran.code, 0) << ran.err;
    return parse_json(ran.out, "stdout");
  }
  struct Mistake {
    std::string arguments;
    int code;
    std::vector<std::string> words;
  };
  // One message each, nothing on stdout, no file left.
  void expect_refused(const std::vector<Mistake>& mistakes) const {
    for (const Mistake& mistake : mistakes) {
      const Ran ran = run(mistake.arguments);
      EXPECT_EQ(ran.code, mistake.code) << mistake.arguments << "\n" << ran.err;
      for (const std::string& word : mistake.words) {
        EXPECT_THAT(ran.err, HasSubstr(word)) << mistake.arguments;
      }
      EXPECT_TRUE(ran.err.starts_with("error: ")) << ran.err;
      EXPECT_EQ(ran.out, "") << mistake.arguments;
    }
    EXPECT_THAT(left(), ::testing::IsEmpty());
  }
  TemporaryDirectory folder_;
};

TEST_F(ScheduleVerb, PrintsTheTimelineAndASummary) {
  const Ran ran = run("--kind 1f1b --pp 4 --micro-batches 8");
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("rank 0 |0123......aA4bB5cC6dD7eE.fF.gG.hH| peak 4\n"));
  EXPECT_THAT(ran.out, HasSubstr("rank 3 |...0aA1bB2cC3dD4eE5fF6gG7hH......| peak 1\n"));
  EXPECT_THAT(ran.out, HasSubstr("makespan    33 ticks\n"
                                 "bubble      37.5%: 9 idle / 24 busy ticks of the busiest rank\n"
                                 "peak stash  4 chunk-micro-batches on rank 0, 1.00 x that of 1f1b\n"));
  EXPECT_THAT(ran.out, HasSubstr("rank  stages  busy  idle  peak stash  sent  received\n"
                                 "0          0    24     9           4     8         8\n"
                                 "1          1    24     9           3    16        16\n"));
  EXPECT_EQ(ran.err, "");
  EXPECT_THAT(left(), ::testing::IsEmpty());
}

TEST_F(ScheduleVerb, CostsLinksAndWidthCount) {
  Ran ran = run("--kind 1f1b --pp 2 --micro-batches 2 --forward 2 --backward-input=2 --backward-weight 4");
  EXPECT_THAT(ran.out, HasSubstr("rank 0 |01...aaA.bbB|")) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("makespan    24 ticks"));
  ran = run("--kind 1f1b --pp 2 --micro-batches 1 --link 2");
  EXPECT_THAT(ran.out, HasSubstr("rank 0 |0~~...~~aA| peak 1")) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("makespan    10 ticks"));
  ran = run("--kind 1f1b --pp 2 --micro-batches 3 --link 1");
  EXPECT_THAT(ran.out, HasSubstr("rank 0 |01~..~aA2bB..~cC| peak 2\nrank 1 |.~0aA1bB~~2cC~..| peak 1\n"));
  ran = run("--kind 1f1b --pp 2 --micro-batches 3 --link 1 --no-overlap");
  EXPECT_THAT(ran.out, HasSubstr("rank 0 |0~1~..~aA2~~bB.~cC| peak 2\nrank 1 |.~0~aA~1bB~~2cC~..| peak 1\n"));
  ran = run("--kind 1f1b --pp 2 --micro-batches 40 --width 50");
  EXPECT_THAT(ran.out, HasSubstr("a column is 4 ticks and shows one of the actions in it"));
}

TEST_F(ScheduleVerb, JsonIsTheScheduleAndReadsBack) {
  const Json made = schedule("--kind interleaved --pp 4 --chunks 2 --micro-batches 8");
  EXPECT_EQ(made.at("version"), 1);
  EXPECT_EQ(made.at("kind"), "interleaved");
  EXPECT_EQ(made.at("placement").dump(), "[[0,4],[1,5],[2,6],[3,7]]");
  EXPECT_EQ(made.at("ranks").size(), 4u);
  EXPECT_EQ(made.at("peak_stash").size(), 4u);
  put("mine.json", made.dump());
  EXPECT_EQ(schedule("--kind mine.json"), made);
  EXPECT_EQ(schedule("--kind mine.json --pp 4 --chunks 2 --micro-batches 8"), made);
  const Ran text = run("--kind mine.json");
  EXPECT_EQ(text.out, run("--kind interleaved --pp 4 --chunks 2 --micro-batches 8").out);
  // The forward form of a file, and of a name.
  const Json forward = schedule("--kind mine.json --forward-only");
  EXPECT_EQ(forward.at("forward_only"), true);
  EXPECT_THAT(run("--kind mine.json --forward-only").out,
              HasSubstr("16     3           -    16        16\n"));
  EXPECT_EQ(forward, schedule("--kind interleaved --pp 4 --chunks 2 --micro-batches 8 --forward-only"));
}

TEST_F(ScheduleVerb, WritesPictureAndTrace) {
  const std::string command =
      "--kind interleaved --pp 4 --chunks 2 --micro-batches 8 --svg a.svg --trace a.json";
  const Ran ran = run(command);
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("makespan"));
  const std::string svg = read_file(at("a.svg"));
  EXPECT_TRUE(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
  EXPECT_THAT(svg, HasSubstr(">Pipeline schedule interleaved<"));
  EXPECT_GT(read_json_file(at("a.json")).size(), 4u * 2 * 8 * 2);
  EXPECT_THAT(left(), ::testing::ElementsAre("a.json", "a.svg"));
  ASSERT_EQ(run(command).code, 0);
  EXPECT_EQ(read_file(at("a.svg")), svg);
}

TEST_F(ScheduleVerb, ComparesAllKinds) {
  const Ran ran = run("--compare --pp 4 --micro-batches 8");
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("4 ranks, 8 micro-batches\n"));
  const Ran json = run("--compare --pp 4 --micro-batches 8 --json");
  ASSERT_EQ(json.code, 0) << json.err;
  bool saw_plain = false, saw_interleaved = false;
  for (const Json& row : parse_json(json.out, "stdout")) {
    const std::string kind = row.at("kind");
    EXPECT_THAT(ran.out, HasSubstr(kind));
    if (kind == "1f1b") {
      saw_plain = true;
      EXPECT_EQ(row.at("bubble"), 0.375);
      EXPECT_EQ(row.at("stash_to_1f1b"), 1.0);
      EXPECT_EQ(row.at("messages"), 16);
    }
    if (kind == "interleaved" && row.at("chunks") == 2) {
      saw_interleaved = true;
      EXPECT_EQ(row.at("bubble"), 0.1875);
      EXPECT_EQ(row.at("messages"), 32);
    }
    // The same work for all: only the bubble differs.
    EXPECT_DOUBLE_EQ(row.at("makespan").get<double>() / (1 + row.at("bubble").get<double>()), 48) << kind;
  }
  EXPECT_TRUE(saw_plain && saw_interleaved);
}

TEST_F(ScheduleVerb, HelpListsFlagsKindsAndAnExample) {
  const Ran ran = run("--help");
  EXPECT_EQ(ran.code, 0);
  for (const char* words : {"--micro-batches M", "  1f1b ", "  gpipe ", "  interleaved ", "  zb-h1 ",
                            "  zb-v ", "example: phalanx schedule --kind interleaved"}) {
    EXPECT_THAT(ran.out, HasSubstr(words));
  }
  EXPECT_THAT(testing::run_program("--help", folder_.path()).out, HasSubstr("  schedule "));
}

constexpr const char* kGood = " --pp 4 --micro-batches 8 ";

TEST_F(ScheduleVerb, WrongKindsAndNumbersGetOneMessage) {
  const std::string good = kGood;
  expect_refused({
      {"--kind interleavd --chunks 2" + good, 3, {"interleavd", "did you mean", "interleaved"}},
      {"--kind 1f1b --chunks 2" + good, 3, {"1f1b", "chunk"}},
      {"--kind zb-v --chunks 3" + good, 3, {"zb-v", "chunk"}},
      {"--pp 4 --micro-batches 8", 2, {"no --kind", "--compare"}},
      {"--kind 1f1b --micro-batches 8", 2, {"no --pp"}},
      {"--kind 1f1b --pp 4", 2, {"no --micro-batches"}},
      {"--kind 1f1b --pp 0 --micro-batches 8", 2, {"--pp: got '0'", "from 1 to 4096"}},
      {"--kind 1f1b --pp -4 --micro-batches 8", 2, {"--pp: got '-4'"}},
      {"--kind 1f1b --pp 4 --micro-batches 99999999999999999999", 2, {"--micro-batches: got '9999"}},
      {"--kind 1f1b --pp 4x --micro-batches 8", 2, {"--pp: got '4x'", "a whole number"}},
      {"--kind 1f1b --pp 4 --micro-batches 2.5", 2, {"--micro-batches: got '2.5'"}},
      {"--kind interleaved --chunks 0" + good, 2, {"--chunks: got '0'"}},
  });
}

TEST_F(ScheduleVerb, WrongFlagsGetOneMessageAndLeaveNothing) {
  const std::string good = kGood;
  expect_refused({
      {"--kind 1f1b --pp 4000 --micro-batches 900000", 2, {"= 3600000000", "at most 4000000"}},
      {"--kind 1f1b --forward 0" + good, 2, {"--forward: got '0'"}},
      {"--kind 1f1b --link -1" + good, 2, {"--link: got '-1'"}},
      {"--kind 1f1b --width 3" + good, 2, {"--width: got '3'", "from 40"}},
      {"--kind 1f1b --microbatches 8 --pp 4", 2, {"--microbatches", "did you mean '--micro-batches'?"}},
      {"--kind 1f1b stray" + good, 2, {"'stray'", "--kind FILE.json"}},
      {"--kind" + good, 2, {"--kind: got no value"}},
      {"--kind 1f1b --svg no/such/out.svg" + good, 4, {"no/such/out.svg"}},
      {"--kind 1f1b --trace no/such/out.json" + good, 4, {"no/such/out.json:"}},
      {"--compare --kind 1f1b" + good, 2, {"--kind", "--compare"}},
      {"--compare --svg a.svg" + good, 2, {"--svg", "--compare"}},
      {"--kind missing.json", 4, {"missing.json"}},
  });
}

TEST_F(ScheduleVerb, FilesThatCannotRunAreRefused) {
  Json good = schedule("--kind 1f1b --pp 2 --micro-batches 2");
  const std::string text = good.dump();
  const auto refused = [&](const std::string& bytes, const std::vector<std::string>& words,
                           const std::string& more = "", int code = 3) {
    put("bad.json", bytes);
    const Ran ran = run("--kind bad.json " + more);
    EXPECT_EQ(ran.code, code) << ran.out << ran.err;
    for (const std::string& word : words) EXPECT_THAT(ran.err, HasSubstr(word));
    EXPECT_THAT(ran.err, HasSubstr("bad.json"));
    EXPECT_EQ(ran.out, "");
  };
  refused(text.substr(0, text.size() / 2), {"line"});
  refused("", {});
  refused("[1, 2]", {});
  refused(text, {"--pp: got 3; needed 2, as bad.json says"}, "--pp 3", 2);
  refused(text, {"--chunks: got 2; needed 1"}, "--chunks 2", 2);
  refused(text, {"--micro-batches: got 4; needed 2"}, "--micro-batches 4", 2);

  Json misses = good;
  misses["ranks"][1].erase(misses["ranks"][1].size() - 2);  // the last backward before its send
  refused(misses.dump(), {"BW", "mb 1", "rank 1"});

  // Both ranks wait to receive first.
  Json waits = good;
  Json& first = waits["ranks"][0];
  for (size_t i = 0; i < first.size(); ++i) {
    if (first[i].at("op") != "recv_b") continue;
    const Json moved = first[i];
    first.erase(i);
    first.insert(first.begin(), moved);
    break;
  }
  refused(waits.dump(), {"deadlock", "rank 0", "rank 1"});

  Json future = good;
  future["version"] = 99;
  refused(future.dump(), {"99"});
}

}  // namespace
}  // namespace phalanx
