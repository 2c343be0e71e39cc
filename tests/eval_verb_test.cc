// `phalanx eval` and `phalanx plot` as processes: what they print and write, and what they refuse.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "phalanx/base/json.h"
#include "phalanx/checkpoint/test_folders.h"
#include "tests/program.h"

namespace phalanx {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using testing::fixture;
using ::testing::HasSubstr;
using testing::Ran;
using testing::run_program;
using testing::write_text;

std::vector<Json> json_lines(const std::string& text) {
  std::vector<Json> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    lines.push_back(parse_json(text.substr(begin, end - begin), "line"));
    begin = end + 1;
  }
  return lines;
}

// A byte model that has seen the task a little.
class EvalVerb : public ::testing::Test {
 protected:
  void SetUp() override {
    const Ran ran = run(
        "train --data.tasks 'copy words=1..2 loss=all' --data.tokenizer_type ByteTokenizer --model.num_layers 1 "
        "--model.hidden_size 32 --model.num_attention_heads 2 --model.seq_length 64 --train.train_iters 20 "
        "--train.global_batch_size 4 --optim.lr 5e-3 --runtime.threads 1 --run-dir run");
    ASSERT_EQ(ran.code, 0) << ran.err;
  }

  Ran run(const std::string& arguments) const { return run_program(arguments, folder_.path()); }
  Ran eval(const std::string& arguments) const { return run("eval recall --model run " + arguments); }
  std::string file(const std::string& name) const { return read_file(folder_.path() + "/" + name); }
  void refuses(const std::string& arguments, int code, const std::string& says) const {
    const Ran ran = run(arguments);
    EXPECT_EQ(ran.code, code) << arguments << "\n" << ran.err;
    EXPECT_THAT(ran.err, HasSubstr(says)) << arguments;
    EXPECT_EQ(ran.out, "") << arguments;
  }

  TemporaryDirectory folder_;
};

TEST_F(EvalVerb, OneRowASizeAndOneLineATask) {
  const Ran ran = eval("--task copy --words 1,2..3 --count 6 --output answers.jsonl --json");
  ASSERT_EQ(ran.code, 0) << ran.err;
  const Json result = parse_json(ran.out, "result");
  EXPECT_EQ(result.at("task"), "copy");
  ASSERT_EQ(result.at("rows").size(), 2u);
  const std::vector<Json> answers = json_lines(file("answers.jsonl"));
  ASSERT_EQ(answers.size(), 12u);
  for (size_t row = 0; row < 2; ++row) {
    const Json& got = result.at("rows")[row];
    EXPECT_EQ(got.at("min_entries"), row + 1);
    EXPECT_EQ(got.at("max_entries"), row == 0 ? 1 : 3);
    EXPECT_EQ(got.at("count"), 6);
    int exact = 0;
    for (size_t i = 6 * row; i < 6 * row + 6; ++i) exact += answers[i].at("wanted") == answers[i].at("made");
    EXPECT_EQ(got.at("exact"), exact);
    EXPECT_LE(got.at("low"), got.at("exact_share"));
    EXPECT_GE(got.at("high"), got.at("exact_share"));
    EXPECT_GT(got.at("overlap"), 0) << "some letters are right by chance";
  }
  const Ran table = eval("--task copy --words 1 --count 6");
  EXPECT_THAT(table.out, ContainsRegex("size +tasks +exact +share"));
}

TEST_F(EvalVerb, TheSameAnswersOnSeveralRanksAndInOtherBatches) {
  for (const char* flags :
       {"--output a.jsonl", "--tensor 2 --output b.jsonl", "--batch 1 --output c.jsonl"}) {
    const Ran ran = eval(std::string("--dtype fp64 --task copy --words 1..3 --count 8 ") + flags);
    ASSERT_EQ(ran.code, 0) << ran.err;
  }
  EXPECT_EQ(file("a.jsonl"), file("b.jsonl"));
  EXPECT_EQ(file("a.jsonl"), file("c.jsonl"));
}

TEST_F(EvalVerb, Refusals) {
  refuses("eval", 2, "needed one of recall");
  refuses("eval recall --task copy --words 1", 2, "got no --model");
  refuses("eval recall --model run --words 1", 2, "--task");
  refuses("eval recall --model run --task cpoy --words 1", 3, "did you mean copy?");
  refuses("eval recall --model run --task copy", 3, "words");
  refuses("eval recall --model run --task copy --words 1,,2", 2, "--words: got '1,,2'");
  refuses("eval recall --model run --task copy --words 1 --count 0", 2, "needed one task or more");
  refuses("eval recall --model run --task copy --words 1 --batch 0", 2, "--batch");
  refuses("eval recall --model run --task copy --words 1 --part all", 2, "needed train, valid or test");
  refuses("eval recall --model run --task phonebook --entries 40 --count 1", 3, "tokens; needed at most");
  refuses("eval recall --model " + fixture("gpt2_hub") + " --task copy --words 1", 3, "tokenizer");
  refuses("eval recall --model nowhere --task copy --words 1", 3, "nowhere");
}

TEST_F(EvalVerb, PlotsRunsAndFiles) {
  write_text(folder_.path() + "/own.jsonl",
             "{\"step\": 1, \"loss\": 5}\n{\"step\": 10, \"loss\": 2}\n{\"other\": 1}\n");
  const Ran ran = run("plot run mine=own.jsonl --output loss.svg --log-x --title Both --smoothing 0.5");
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out, "loss.svg\n");
  EXPECT_THAT(file("loss.svg"),
              AllOf(HasSubstr("<svg"), HasSubstr(">run<"), HasSubstr(">mine<"), HasSubstr(">Both<")));
  run("plot run mine=own.jsonl --output linear.svg --title Both --smoothing 0.5");
  EXPECT_NE(file("linear.svg"), file("loss.svg")) << "the x axis";
}

TEST_F(EvalVerb, PlotRefusals) {
  write_text(folder_.path() + "/bad.jsonl", "{\"step\": 1, \"loss\": 5}\nnot json\n");
  refuses("plot --output a.svg", 2, "got no PATH");
  refuses("plot run", 2, "got no --output");
  refuses("plot run --y nothing --output a.svg", 3, "no line with the numbers step and nothing");
  refuses("plot bad.jsonl --output a.svg", 3, "bad.jsonl:2: got no JSON object");
  refuses("plot run --smoothing 1 --output a.svg", 2, "--smoothing");
  refuses("plot nowhere.jsonl --output a.svg", 4, "nowhere.jsonl");
}

}  // namespace
}  // namespace phalanx
