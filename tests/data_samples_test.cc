// `phalanx data samples`: the rows of a blend however it is named, and what it says to a wrong one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "phalanx/base/json.h"
#include "phalanx/data/indexed_writer.h"
#include "tests/program.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;
using testing::Ran;
using testing::run_program;

class DataSamples : public ::testing::Test {
 protected:
  void SetUp() override {
    write("a", 0, 60);
    write("b", 1000, 60);
    write_file_atomic(folder_.path() + "/words.txt", "0.25 a\n0.75 b\n");
    write_file_atomic(folder_.path() + "/parts.json", R"({"train": [0.25, "a", 0.75, "b"], "valid": ["b"]})");
    write_file_atomic(folder_.path() + "/run.toml",
                      "[data]\ndata_path = [\"0.25\", \"a\", \"0.75\", \"b\"]\nsplit = \"1\"\n"
                      "[model]\nseq_length = 6\n[train]\nseed = 3\n");
  }

  void write(const std::string& name, int base, int count) const {
    IndexedDatasetWriter writer(folder_.path() + "/" + name, TokenDtype::kUint16);
    for (int i = 0; i < count; ++i) {
      writer.add_sequence(std::vector<int32_t>(static_cast<size_t>(3 + i % 5), base + i));
      writer.end_document();
    }
    writer.commit();
  }

  Ran run(const std::string& arguments) const {
    return run_program("data samples " + arguments, folder_.path());
  }

  TemporaryDirectory folder_;
};

TEST_F(DataSamples, ABlendReadsTheSameHoweverItIsNamed) {
  const std::string rest = " --seq-length 6 --seed 3 --num-samples 40 --count 40 --json";
  const Ran first = run("--data-path 0.25 a 0.75 b --split 1" + rest);
  ASSERT_EQ(first.code, 0) << first.err;
  int rows = 0, of_b = 0;
  for (size_t begin = 0; begin < first.out.size(); ++rows) {
    const size_t end = first.out.find('\n', begin);
    const Json row = parse_json(first.out.substr(begin, end - begin), "row");
    EXPECT_EQ(row.at("index").get<int>(), rows);
    ASSERT_EQ(row.at("tokens").size(), 7u);
    of_b += row.at("tokens")[0].get<int>() >= 1000 ? 1 : 0;
    begin = end + 1;
  }
  EXPECT_EQ(rows, 40);
  EXPECT_EQ(of_b, 30);
  for (const char* arguments :
       {"--train-data-path 0.25 a 0.75 b", "--data-args-path words.txt --split 1",
        "--per-split-data-args-path parts.json",
        "--data-path 0.25 a 0.75 b --split 1 --data-cache-path cache --num-dataset-builder-threads 2",
        "--data-path 0.25 a 0.75 b --split 1 --data-cache-path cache"}) {
    EXPECT_EQ(run(arguments + rest).out, first.out) << arguments;
  }
  EXPECT_EQ(run("run.toml --num-samples 40 --count 40 --json").out, first.out);
  const std::string tail = run("run.toml --num-samples 40 --first 25 --count 15 --json").out;
  EXPECT_TRUE(first.out.ends_with(tail));
  EXPECT_EQ(run("run.toml --num-samples 40 --json").out, first.out.substr(0, first.out.find('\n') + 1));
}

TEST_F(DataSamples, PartsAndTheirNumbers) {
  const Ran valid =
      run("--per-split-data-args-path parts.json --part valid --seq-length 6 --num-samples 9,,4");
  EXPECT_EQ(valid.code, 0);
  EXPECT_THAT(valid.out, ::testing::StartsWith("0: 10"));
  const Ran test = run("--per-split-data-args-path parts.json --part test --seq-length 6");
  EXPECT_EQ(test.code, 3);
  EXPECT_THAT(test.err,
              HasSubstr("got no data for the test part; needed a data path or a share of the split"));
}

TEST_F(DataSamples, WhatIsWrong) {
  struct Mistake {
    const char* arguments;
    int code;
    const char* words;
  };
  for (const Mistake& m : std::vector<Mistake>{
           {"--data-path a --seq-length 6 --first 48", 3, "got samples 48 to 48; needed indices below 47"},
           {"--data-path a --seq-length 6 --count 99", 3, "got samples 0 to 98; needed indices below 47"},
           {"--data-path a --seq-length 6 --first x", 2, "--first: got 'x'"},
           {"--data-path a --seq-length 0", 2, "--seq-length: got 0"},
           {"--data-path a --seq-length 6 --part tail", 2, "--part: got 'tail'"},
           {"--data-path a --seq-length 6 --num-samples 1,2,3,4", 2, "--num-samples: got 4 numbers"},
           {"--data-path a --seq-length 6 --num-samples -1", 2, "--num-samples: got '-1'"},
           {"--seq-length 6", 2, "got no --data-path"},
           {"--data-path 1 a x b --seq-length 6 --num-samples 9", 3, "data.data_path, entry 3: got 'x'"},
           {"--data-path 1 a 0 b --seq-length 6 --num-samples 9", 3, "entry 3: got weight '0'"},
           {"--data-path nan a 1 b --seq-length 6 --num-samples 9", 3, "entry 1: got weight 'nan'"},
           {"--data-path 1 a 1 c --seq-length 6 --num-samples 9", 4, "c.idx: got no such file"},
           {"--data-path 1 a 1 b --seq-length 6", 3, "got weights without a number of samples"},
           {"--data-path a --train-data-path b --seq-length 6", 3, "got both data.data_path and"},
           {"--data-args-path none.txt --seq-length 6", 4, "none.txt"},
           {"--data-path a --seq-length 6 --split nothing", 3, "split 'nothing'"},
           {"--data-path a --seq-length 6000 --split 1", 3, "got 300 tokens; needed at least 6001"},
       }) {
    const Ran ran = run(m.arguments);
    EXPECT_EQ(ran.code, m.code) << m.arguments << ran.err;
    EXPECT_THAT(ran.err, HasSubstr(m.words)) << m.arguments;
    EXPECT_EQ(ran.out, "") << m.arguments;
  }
}

}  // namespace
}  // namespace phalanx
