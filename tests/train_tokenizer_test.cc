// `phalanx data train-tokenizer` as a user runs it: files that `data tokenize` reads, messages, exit codes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <tuple>

#include "phalanx/base/json.h"
#include "tests/program.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;
using testing::Ran;
using testing::run_program;

class TrainTokenizer : public ::testing::Test {
 protected:
  std::string at(const std::string& name) const { return folder_.path() + "/" + name; }
  void put(const std::string& name, const std::string& bytes) { write_file_atomic(at(name), bytes); }
  Ran run(const std::string& arguments) const { return run_program("data " + arguments, folder_.path()); }

  TemporaryDirectory folder_;
};

// Trained, written and used: the same files from any number of threads.
TEST_F(TrainTokenizer, MakesWhatTokenizeReads) {
  make_directories(at("in"));
  std::string lines;
  for (int i = 0; i < 3000; ++i) {
    lines +=
        Json{{"text", "word" + std::to_string(i * i % 997) + " and some more of the same words"}}.dump() +
        "\n";
  }
  put("in/a.jsonl", lines);
  const std::string train = "train-tokenizer --input in --vocab-size 500 --json ";
  const Ran one = run(train + "--output one --workers 1");
  ASSERT_EQ(one.code, 0) << one.err;
  const Json summary = parse_json(one.out, "summary");
  EXPECT_EQ(summary["vocab_size"], 500);
  EXPECT_EQ(summary["merges"], 500 - 256 - 1);
  ASSERT_EQ(run(train + "--output three --workers 3").code, 0);
  EXPECT_EQ(read_file(at("one/tokenizer.json")), read_file(at("three/tokenizer.json")));
  EXPECT_THAT(read_file(at("one/tokenizer_config.json")), HasSubstr("\"eos_token\": \"<|endoftext|>\""));

  const Ran used =
      run("tokenize --input in --output-prefix out --tokenizer-type HuggingFaceTokenizer "
          "--tokenizer-model one --append-eod --json");
  ASSERT_EQ(used.code, 0) << used.err;
  EXPECT_GT(parse_json(used.out, "summary")["bytes_per_token"].get<double>(), 2.0);
}

TEST_F(TrainTokenizer, SaysWhatIsWrong) {
  put("a.txt", "some text that is long enough");
  put("empty.jsonl", "\n\n");
  const std::vector<std::tuple<std::string, int, std::string>> cases = {
      {"--input a.txt", 2, "--output"},
      {"--output o", 2, "no input"},
      {"--input a.txt --output o --pattern gpt5", 2, "'gpt5'"},
      {"--input a.txt --output o --vocab-size many", 2, "--vocab-size"},
      {"--input a.txt --output o --vocab-size 100", 3, "100"},
      {"--input a.txt --output o --special-tokens x x", 3, "x"},
      {"--input empty.jsonl --output o", 3, "without a document"},
      {"--input nothing.txt --output o", 4, "nothing.txt"},
      {"--input a.txt --output a.txt", 4, "a.txt"}};
  for (const auto& [arguments, code, message] : cases) {
    const Ran ran = run("train-tokenizer " + arguments);
    EXPECT_EQ(ran.code, code) << arguments << ran.err;
    EXPECT_THAT(ran.err, HasSubstr(message)) << arguments;
    EXPECT_FALSE(path_exists(at("o/tokenizer.json"))) << arguments;
  }
}

}  // namespace
}  // namespace phalanx
