// `phalanx plan` as a user runs it: what it prints, writes, refuses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>

#include "phalanx/base/json.h"
#include "tests/program.h"

namespace phalanx {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::Ran;

class PlanVerb : public ::testing::Test {
 protected:
  std::string at(const std::string& name) const { return folder_.path() + "/" + name; }
  Ran run(const std::string& arguments) const {
    return testing::run_program("plan " + arguments, folder_.path());
  }
  Json json_of(const std::string& arguments) const {
    const Ran ran = run(arguments + " --json");
    EXPECT_EQ(ran.code, 0) << ran.err;
    return parse_json(ran.out, "stdout");
  }
  void expect_refused(const std::string& arguments, int code, const std::vector<std::string>& words) const {
    const Ran ran = run(arguments);
    EXPECT_EQ(ran.code, code) << arguments << "\n" << ran.err;
    EXPECT_TRUE(ran.err.starts_with("error: ")) << ran.err;
    EXPECT_EQ(ran.out, "") << arguments;
    for (const std::string& word : words) EXPECT_THAT(ran.err, HasSubstr(word)) << arguments;
  }
  TemporaryDirectory folder_;
};

const char* const kGpt3 =
    "--preset gpt3-175b --cluster a100-selene --parallel.tensor=8 --parallel.pipeline=8 "
    "--parallel.sequence_parallel --global-batch-size 64 ";

TEST_F(PlanVerb, ReportsOneLayout) {
  const Ran ran = run(kGpt3);
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.err, "");
  for (const char* part :
       {"gpt3-175b", "tp 8 sp pp 8, 1f1b, micro-batch 1 x 64", "64 GPUs of a100-selene", "MFU",
        "Megatron's meter", "bubble", "matrix products", "optimizer", "weights", "stash"}) {
    EXPECT_THAT(ran.out, HasSubstr(part));
  }
}

TEST_F(PlanVerb, JsonAddsUp) {
  const Json plan = json_of(kGpt3);
  double seconds = 0;
  for (const auto& [name, part] : plan.at("time").at("parts").items()) seconds += part.get<double>();
  EXPECT_NEAR(seconds, plan.at("time").at("seconds").get<double>(), 1e-6);
  EXPECT_EQ(plan.at("memory").at("ranks").size(), 8U);
  for (const Json& rank : plan.at("memory").at("ranks")) {
    int64_t bytes = 0;
    for (const auto& [name, item] : rank.at("items").items()) bytes += item.get<int64_t>();
    EXPECT_EQ(bytes, rank.at("bytes").get<int64_t>());
  }
  EXPECT_EQ(plan.at("flops").at("model"), plan.at("megatron_meter").at("megatron"))
      << "a GPT: the meter is right";
}

TEST_F(PlanVerb, MegatronFlagsMeanTheSame) {
  const Json mine = json_of(
      "--preset gpt3-175b --parallel.tensor=8 --parallel.pipeline=12 --parallel.chunks=2 "
      "--train.micro_batch_size=1 --train.global_batch_size=48 --train.recompute=full");
  const Json theirs = json_of(
      "--preset gpt3-175b --tensor-model-parallel-size 8 --pipeline-model-parallel-size 12 "
      "--num-virtual-stages-per-pipeline-rank 2 --micro-batch-size 1 --global-batch-size 48 --recompute-granularity full "
      "--recompute-method uniform --recompute-num-layers 1");
  EXPECT_EQ(mine.at("layout"), theirs.at("layout"));
  EXPECT_EQ(mine.at("layout").at("schedule"), "interleaved");
}

TEST_F(PlanVerb, ASearchRanksExplainsAndWritesARun) {
  const Ran ran = run(
      "--preset llama-2-7b --gpus 64 --global-batch-size 256 --search --top 4 --out run.toml --svg t.svg");
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_THAT(ran.out, AllOf(HasSubstr("layouts divide"), HasSubstr("\n  4 "), Not(HasSubstr("\n  5 ")),
                             HasSubstr(" %: ")));
  EXPECT_THAT(read_file(at("t.svg")), HasSubstr("<svg"));
  // What was written is a plan again, with the same numbers.
  const Json best =
      json_of("--preset llama-2-7b --gpus 64 --global-batch-size 256 --search --top 1").at("ranked").at(0);
  const Json again = json_of("run.toml");
  EXPECT_EQ(again.at("layout"), best.at("layout"));
  EXPECT_NEAR(again.at("time").at("seconds").get<double>(), best.at("time").at("seconds").get<double>(),
              1e-9);
}

TEST_F(PlanVerb, ThePapersLayoutOf1TIsAmongTheBest) {
  const auto begin = std::chrono::steady_clock::now();
  const Json result = json_of(
      "--preset megatron-1008b --cluster a100-selene --software megatron-2021 --gpus 3072 --global-batch-size 3072 "
      "--search --recomputes full --zeros 0 --no-sp --schedules gpipe,1f1b,interleaved --keep-outputs --stash paper");
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(), 10);
  const Json& ranked = result.at("ranked");
  bool found = false;
  for (size_t i = 0; i < std::min<size_t>(5, ranked.size()); ++i) {
    const Json& layout = ranked[i].at("layout");
    if (layout.at("tp") != 8 || layout.at("pp") != 64 || layout.at("chunks") != 1 ||
        layout.at("micro_batch") != 1)
      continue;
    found = true;
    EXPECT_LE(ranked[i].at("time").at("seconds").get<double>(),
              1.03 * ranked[0].at("time").at("seconds").get<double>());
  }
  EXPECT_TRUE(found);
}

TEST_F(PlanVerb, DecodeNamesItsAssumption) {
  const Ran ran = run("--decode mamba2-hybrid-8b,transformer-8b");
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_THAT(ran.out, AllOf(HasSubstr("32 key/value groups"), HasSubstr("16384 B a token"),
                             HasSubstr("Largest batch")));
}

TEST_F(PlanVerb, DecodeTakesConfigFiles) {
  const std::string recipes = std::string(PHALANX_SOURCE_DIR) + "/recipes/";
  const std::string both = "--decode " + recipes + "hybrid_55m.toml," + recipes + "transformer_55m.toml ";
  const Json half = json_of(both);
  const Json whole = json_of(both + "--decode-dtype fp32");
  EXPECT_EQ(half.at("model"), "hybrid_55m");
  EXPECT_EQ(half.at("baseline"), "transformer_55m");
  ASSERT_EQ(half.at("rows").size(), 16u);
  for (size_t i = 0; i < 4; ++i) {  // one sequence: bound by memory, and every number twice as wide
    const double ratio = whole.at("rows")[i].at("baseline_s").get<double>() /
                         half.at("rows")[i].at("baseline_s").get<double>();
    EXPECT_NEAR(ratio, 2, 1e-9);
  }
  const Ran bench = testing::run_program(
      "bench decode --config " + recipes + "hybrid_55m.toml --context 8 --steps 1 --rounds 1 --json",
      folder_.path());
  EXPECT_EQ(bench.code, 0) << bench.err;
  EXPECT_GT(parse_json(bench.out, "stdout").at("rows")[0].at("step_ms"), 0);
  EXPECT_EQ(testing::run_program("bench decode --config nothing", folder_.path()).code, 2);
}

TEST_F(PlanVerb, ThePapersTables) {
  const Ran ran = run("--papers");
  EXPECT_EQ(ran.code, 0) << ran.err;
  for (const char* part :
       {"table 1", "table 2", "table 4", "table 5", "MT-NLG", "figure 18", "MISSED", "fitted"}) {
    EXPECT_THAT(ran.out, HasSubstr(part));
  }
}

TEST_F(PlanVerb, AHybridIsPricedAndNotWritten) {
  const Json plan = json_of(
      "--preset mamba2-hybrid-8b --gpus 8 --parallel.data=8 --global-batch-size 32 --parallel.zero_stage=1");
  EXPECT_GT(plan.at("megatron_meter").at("corrected").get<double>(),
            plan.at("megatron_meter").at("megatron").get<double>());
  expect_refused("--preset mamba2-hybrid-8b --gpus 8 --global-batch-size 32 --search --out run.toml", 3,
                 {"can be trained"});
}

TEST_F(PlanVerb, DrawsTheScheduleItPrices) {
  const Ran ran = run("--preset small --parallel.pipeline=2 --global-batch-size 4 --svg s.svg");
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_THAT(read_file(at("s.svg")), HasSubstr("<svg"));
}

TEST_F(PlanVerb, AModelThatCannotFit) {
  expect_refused(
      "--preset gpt3-13b --gpus 8 --global-batch-size 8", 3,
      {"for rank 0 of the pipeline", "optimizer", "it lacks", "the nearest layout that fits: ", "a step"});
  expect_refused("--preset megatron-1008b --gpus 8 --parallel.tensor=8 --global-batch-size 8", 3,
                 {"it lacks", "none fits on so many GPUs", "times the memory", "more GPUs"});
  expect_refused("--preset gpt3-175b --gpus 8 --global-batch-size 8 --search", 3,
                 {"no layout that fits", "more than the"});
}

TEST_F(PlanVerb, ImpossibleClusters) {
  const std::string good = read_file(std::string(PHALANX_SOURCE_DIR) + "/phalanx/plan/clusters/h200.toml");
  std::string bad = good;
  bad.replace(bad.find("inter_bandwidth = 50e9"), 22, "inter_bandwidth = 0.0");
  bad.replace(bad.find("nodes = "), 8, "nodes = -");
  std::ofstream(at("bad.toml")) << bad;
  expect_refused("--preset small --cluster bad.toml", 3, {"bad.toml", "inter_bandwidth", "nodes"});
  expect_refused("--preset small --cluster h10", 3, {"a100-selene, h100-sxm, h200"});
  expect_refused("--preset small --cluster none.toml", 4, {"none.toml"});
  expect_refused("--preset small --cluster h200 --gpus 1048576", 3, {"768 nodes of 8, 6144 in all"});
}

TEST_F(PlanVerb, Mistakes) {
  expect_refused("", 2, {"no model"});
  expect_refused("--preset gpt3-175", 2, {"did you mean gpt3-175b?"});
  expect_refused("--preset small --search", 2, {"--gpus"});
  expect_refused("--preset small --search --gpus 8", 2, {"--global-batch-size"});
  expect_refused("--preset small --gpus 7 --parallel.tensor=2", 3,
                 {"a multiple of tp x cp x pp = 2", "6 or 8"});
  expect_refused("--preset small --parallel.tensor=3", 3, {"tp = 3"});
  expect_refused("--preset small --parallel.pipeline=2 --parallel.schedule=2f2b --global-batch-size 4", 3,
                 {"2f2b", "1f1b"});
  expect_refused("--preset small --parallel.pipeline=2 --parallel.chunks=5 --global-batch-size 8", 3,
                 {"chunks"});
  expect_refused("--preset small --gpus 8 --global-batch-size 8 --search --zeros 4", 2, {"0 to 3"});
  expect_refused("--preset small --gpus 8 --global-batch-size 8 --search --schedules 1f1b,x", 3, {"'x'"});
  expect_refused("--preset small --gpus 8 --global-batch-size 8 --search --top 0", 2, {"--top"});
  expect_refused("--preset small --software megatron-2012", 3, {"megatron-2021"});
  expect_refused("--decode mamba2-hybrid-8b", 2, {"MODEL,BASELINE"});
  expect_refused("--decode mamba2-hybrid-8b,transformer-8b --decode-dtype fp16", 2, {"needed fp32 or bf16"});
  expect_refused("--decode mamba2-hybrid-8b,nowhere.toml", 4, {"nowhere.toml"});
  expect_refused("--decode mamba2-hybrid-8b,transformer-9b", 2, {"did you mean transformer-8b?"});
  expect_refused("--preset small --reserve 1", 2, {"--reserve"});
  expect_refused("--preset small --stash all", 2, {"phalanx or paper"});
  expect_refused("a.toml b.toml", 2, {"b.toml"});
  expect_refused("--preset small --svg nowhere/s.svg", 4, {"nowhere"});
}

TEST_F(PlanVerb, ThePlaceOfAnUnknownLayer) {
  const Ran ran = run(
      "'--model.pattern=*-*Q-' --model.hidden_size=64 --model.num_attention_heads=2 --model.vocab_size=64");
  EXPECT_EQ(ran.code, 3);
  EXPECT_THAT(ran.err, AllOf(HasSubstr("'Q' at character 4"), HasSubstr("    *-*Q-\n       ^")));
}

TEST_F(PlanVerb, HelpHasAnExampleThatRuns) {
  const Ran help = run("--help");
  EXPECT_EQ(help.code, 0);
  const size_t begin = help.out.find("example: phalanx plan ");
  ASSERT_NE(begin, std::string::npos);
  const size_t from = begin + std::string("example: phalanx plan ").size();
  EXPECT_EQ(run(help.out.substr(from, help.out.find('\n', from) - from)).code, 0);
  EXPECT_THAT(run("--list").out,
              AllOf(HasSubstr("h200"), HasSubstr("megatron-2021"), HasSubstr("mamba2-hybrid-8b")));
}

}  // namespace
}  // namespace phalanx
