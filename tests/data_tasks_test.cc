// `phalanx data tasks` and runs on data.tasks: the file, its digest, what is said to wrong words, and that a run learns
// from them under any layout.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "phalanx/base/json.h"
#include "phalanx/base/sha256.h"
#include "phalanx/data/recall_config.h"
#include "tests/program.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;
using testing::Ran;
using testing::run_program;

class DataTasks : public ::testing::Test {
 protected:
  Ran run(const std::string& arguments) const {
    return run_program("data tasks " + arguments, folder_.path());
  }
  std::string file(const std::string& name) const { return read_file(folder_.path() + "/" + name); }

  TemporaryDirectory folder_;
};

TEST_F(DataTasks, WritesTheSamplesAndTheirDigest) {
  const std::string flags = "--task phonebook --entries 5..9 --questions 2 --count 20 --seed 7 ";
  const Ran ran = run(flags + "--output book.jsonl --json");
  ASSERT_EQ(ran.code, 0) << ran.err;
  const Json summary = parse_json(ran.out, "summary");
  const std::string bytes = file("book.jsonl");
  EXPECT_EQ(summary.at("count"), 20);
  EXPECT_EQ(summary.at("task"), "phonebook");
  EXPECT_EQ(summary.at("output"), "book.jsonl");
  EXPECT_EQ(summary.at("bytes"), bytes.size());
  EXPECT_EQ(summary.at("sha256"), sha256_hex(bytes));
  const RecallTaskSpec spec = parse_recall_task("phonebook entries=5..9 questions=2", "test");
  int64_t index = 0;
  for (size_t begin = 0; begin < bytes.size(); ++index) {
    const size_t end = bytes.find('\n', begin);
    const Json row = parse_json(bytes.substr(begin, end - begin), "row");
    const RecallSample sample = make_recall_sample(spec, {.seed = 7, .part = 2}, index);
    EXPECT_EQ(row, (Json{{"task", "phonebook"},
                         {"index", index},
                         {"entries", sample.entries},
                         {"depth", sample.depth},
                         {"prompt", sample.prompt},
                         {"answer", sample.answer}}));
    begin = end + 1;
  }
  EXPECT_EQ(index, 20);
  // The same flags give the same bytes; later indices are the tail; parts and seeds are others.
  const Ran plain = run(flags + "--output again.jsonl");
  EXPECT_EQ(file("again.jsonl"), bytes);
  EXPECT_THAT(plain.out, HasSubstr("20 of phonebook in "));
  EXPECT_THAT(plain.out, HasSubstr("sha256 " + sha256_hex(bytes) + "\n"));
  run("--task phonebook --entries 5..9 --questions 2 --first 15 --count 5 --seed 7 --output tail.jsonl");
  EXPECT_TRUE(bytes.ends_with(file("tail.jsonl")));
  for (const char* other : {"--part train", "--part valid", "--seed 8"}) {
    run(flags + other + " --output other.jsonl");
    EXPECT_NE(file("other.jsonl"), bytes) << other;
  }
}

// Frozen: a set that somebody compares with is this one.
TEST_F(DataTasks, KnownDigests) {
  for (const auto& [task, digest] : std::vector<std::pair<const char*, const char*>>{
           {"phonebook --entries 32", "1df6e004831de399d9cf084c4289e2e6b916869540a2a51ea1c1b632f927a2e1"},
           {"phonebook_reversed --entries 32",
            "092b0f13ca7c3b2bbbfb3c022449836cf133f8f9085982b9ceb8a955a42b54bd"},
           {"phonebook_lookup --entries 32",
            "d882c7bba4fee000634996868f3115040d74d9495abe29f6b0c7fb7e8b1db4c7"},
           {"copy --words 8..16", "0cc67b10606635ba7022411dacfadd8d8ffd2a6f95e8427f49e7c5c4a396a769"},
           {"associative_recall --pairs 8",
            "06fa5479e18cf6d9dca55a7bbfa582cc65c622e7aae7c0d6f0eb2213b312deef"},
       }) {
    const Ran ran = run(std::string("--task ") + task + " --count 100 --seed 7 --output set.jsonl --json");
    ASSERT_EQ(ran.code, 0) << ran.err;
    EXPECT_EQ(parse_json(ran.out, "summary").at("sha256"), digest) << task;
  }
}

TEST_F(DataTasks, WhatIsWrong) {
  struct Mistake {
    const char* arguments;
    int code;
    const char* words;
  };
  for (const Mistake& m : std::vector<Mistake>{
           {"--entries 32 --output x.jsonl", 2, "got no --task"},
           {"--task phonebook --entries 32", 2, "got no --output"},
           {"--task phonbook --entries 32 --output x.jsonl", 3, "did you mean phonebook?"},
           {"--task phonebook --output x.jsonl", 3, "got phonebook without entries"},
           {"--task phonebook --words 9 --output x.jsonl", 3, "got 'words=9'"},
           {"--task phonebook --entries 9..3 --output x.jsonl", 3, "Fix: entries=3..9"},
           {"--task phonebook --entries 9 --questions 0 --output x.jsonl", 3, "got questions=0"},
           {"--task phonebook --entries 9 --count 0 --output x.jsonl", 2,
            "--first, --count: got 0 tasks from 0"},
           {"--task phonebook --entries 9 --first 1125899906842624 --count 1 --output x.jsonl", 2,
            "below 2^50"},
           {"--task phonebook --entries 9 --count x --output x.jsonl", 2, "--count: got 'x'"},
           {"--task phonebook --entries 9 --part tail --output x.jsonl", 2, "--part: got 'tail'"},
           {"--task phonebook --entries 9 --output nowhere/x.jsonl", 4, "nowhere/x.jsonl"},
           {"book.jsonl --task phonebook --entries 9", 2, "got the word 'book.jsonl'"},
       }) {
    const Ran ran = run(m.arguments);
    EXPECT_EQ(ran.code, m.code) << m.arguments << ran.err;
    EXPECT_THAT(ran.err, HasSubstr(m.words)) << m.arguments;
    EXPECT_EQ(ran.out, "") << m.arguments;
    EXPECT_FALSE(path_exists(folder_.path() + "/x.jsonl")) << m.arguments;
  }
  const Ran help = run("--help");
  EXPECT_EQ(help.code, 0);
  EXPECT_THAT(help.out, HasSubstr("example: phalanx data tasks --task phonebook --entries 32"));
}

constexpr const char* kRun =
    "--preset tiny --model.num_layers=1 --model.seq_length=96 --tokenizer-type ByteTokenizer "
    "--data.tasks='associative_recall pairs=2..4 questions=2,copy words=2..4 weight=0.5' --global-batch-size 4 ";

// Tasks are the data of a run: of validation, too, after a resume, and whatever the number of data ranks.
TEST_F(DataTasks, ARunTrainsOnThem) {
  const auto phalanx = [&](const std::string& words) { return run_program(words, folder_.path()); };
  const std::string train = std::string("train ") + kRun + "--train.eval_interval=2 --train.eval_iters=1 ";
  const Ran whole = phalanx(train + "--train.train_iters=4 --run-dir whole");
  ASSERT_EQ(whole.code, 0) << whole.err;
  ASSERT_EQ(phalanx(train + "--train.train_iters=4 --train.exit_interval=2 --run-dir parts").code, 0);
  ASSERT_EQ(phalanx("train parts").code, 0);
  const auto losses = [&](const std::string& name) {
    std::vector<std::string> all;
    const std::string text = file(name + "/metrics.jsonl");
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = text.find('\n', begin);
      const Json row = parse_json(text.substr(begin, end - begin), "row");
      for (const char* key : {"loss", "valid_loss"}) {
        if (row.contains(key)) all.push_back(row.at(key).dump());
      }
      begin = end + 1;
    }
    return all;
  };
  EXPECT_GE(losses("whole").size(), 6u);
  EXPECT_EQ(losses("parts"), losses("whole"));
  EXPECT_THAT(file("whole/config.toml"), HasSubstr("associative_recall pairs=2..4 questions=2"));
  const Ran layout =
      phalanx(std::string("verify-layout ") + kRun +
              "--dtype fp64 --parallel.data=2 --parallel.tensor=2 --train.reset_attention_mask=true");
  EXPECT_EQ(layout.code, 0) << layout.out << layout.err;
  const Ran rows = phalanx("data samples whole/config.toml --part valid --num-samples 4,4 --count 2 --json");
  EXPECT_EQ(rows.code, 0) << rows.err;
  EXPECT_THAT(rows.out, HasSubstr("{\"index\":1,\"tokens\":["));
}

TEST_F(DataTasks, WhatARunRefuses) {
  for (
      const auto& [arguments, words] : std::vector<std::pair<std::string, std::string>>{
          {"--data.tasks='phonbook entries=8' --tokenizer-type ByteTokenizer", "did you mean phonebook?"},
          {"--data.tasks='phonebook entries=8'", "data.tasks need data.tokenizer_type"},
          {"--data.tasks='phonebook entries=8' --mock-data --tokenizer-type ByteTokenizer",
           "data.mock_data and data.tasks are both given"},
          {"--data.tasks='phonebook entries=8' --data-path x --data.tasks_fraction=0 --tokenizer-type ByteTokenizer",
           "data.tasks_fraction: got 0; needed a share between 0 and 1"},
          {"--data.tasks='phonebook entries=80' --tokenizer-type ByteTokenizer", "more than a sample holds"},
      }) {
    const Ran ran =
        run_program("train --preset tiny --train.train_iters=1 --run-dir r " + arguments, folder_.path());
    EXPECT_EQ(ran.code, 3) << arguments << ran.err;
    EXPECT_THAT(ran.err, HasSubstr(words)) << arguments;
  }
}

}  // namespace
}  // namespace phalanx
