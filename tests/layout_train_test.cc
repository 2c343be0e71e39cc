// The real binary on several ranks: the numbers of one rank, checkpoints that go on under any other layout, verify-layout,
// and what bad layouts are told.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "phalanx/base/json.h"
#include "phalanx/comm/flight_recorder.h"
#include "phalanx/telemetry/metrics.h"
#include "tests/program.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;
using testing::Ran;
using testing::run_program;

const std::string kModel =
    "--preset tiny --model.num_layers=4 --model.hidden_size=32 --model.seq_length=16 --model.hidden_dropout=0.1 "
    "--mock-data --train.micro_batch_size=1 --train.global_batch_size=8 --runtime.threads=1 ";
const std::string kRun = kModel + "--mock-mask-fraction 0.2 --dtype fp64 --train.train_iters=6 ";

const std::string kTensorAndPipeline =
    "--parallel.tensor=2 --parallel.pipeline=2 --parallel.sequence_parallel=true --parallel.data=1 "
    "--parallel.zero_stage=0 ";
const std::string kShardedData =
    "--parallel.tensor=1 --parallel.pipeline=1 --parallel.sequence_parallel=false --parallel.data=2 "
    "--parallel.zero_stage=1 ";
const std::string kOneRank =
    "--parallel.tensor=1 --parallel.pipeline=1 --parallel.sequence_parallel=false --parallel.data=1 "
    "--parallel.zero_stage=0 ";

class LayoutTrain : public ::testing::Test {
 protected:
  TemporaryDirectory folder_;
  Ran phalanx(const std::string& arguments) { return run_program(arguments, folder_.path()); }
  std::string path(const std::string& name) const { return folder_.path() + "/" + name; }

  // The metrics of a run that must go well.
  std::vector<StepMetrics> train(const std::string& name, const std::string& arguments) {
    const Ran ran = phalanx("train " + arguments + "--run-dir " + name);
    EXPECT_EQ(ran.code, 0) << ran.err;
    return read_metrics(path(name) + "/metrics.jsonl");
  }
};

void expect_same_curve(const std::vector<StepMetrics>& got, const std::vector<StepMetrics>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    const std::string step = "step " + std::to_string(want[i].step);
    EXPECT_EQ(got[i].step, want[i].step);
    EXPECT_NEAR(got[i].loss, want[i].loss, 1e-10 * want[i].loss) << step;
    EXPECT_NEAR(got[i].grad_norm, want[i].grad_norm, 1e-10 * want[i].grad_norm) << step;
    EXPECT_EQ(got[i].lr, want[i].lr) << step;
    EXPECT_EQ(got[i].tokens, want[i].tokens) << step;
    EXPECT_EQ(got[i].consumed_samples, want[i].consumed_samples) << step;
    ASSERT_EQ(got[i].valid_loss.has_value(), want[i].valid_loss.has_value()) << step;
    if (want[i].valid_loss) {
      EXPECT_NEAR(*got[i].valid_loss, *want[i].valid_loss, 1e-10 * *want[i].valid_loss) << step;
    }
  }
}

TEST_F(LayoutTrain, EveryLayoutWritesTheCurveOfOneRank) {
  const std::string common = kRun + "--train.eval_interval=3 --train.eval_iters=2 ";
  const std::vector<StepMetrics> one = train("one", common);
  expect_same_curve(train("tensor_pipeline", common + kTensorAndPipeline), one);
  expect_same_curve(train("sharded_data", common + kShardedData), one);
  expect_same_curve(train("interleaved", common + "--parallel.pipeline=2 --parallel.chunks=2 "), one);
  expect_same_curve(train("all", common + "--parallel.tensor=2 --parallel.pipeline=2 --parallel.data=2 "
                                          "--parallel.schedule=zb-h1 --parallel.zero_stage=1 "),
                    one);
}

TEST_F(LayoutTrain, AStepOfFewerSamplesAtTheEnd) {
  const std::string common = kModel + "--dtype fp64 --train.train_samples=29 --train.micro_batch_size=2 ";
  expect_same_curve(train("four", common + "--parallel.pipeline=2 --parallel.data=2 "), train("one", common));
}

TEST_F(LayoutTrain, AScheduleOutOfAFile) {
  const Ran file = phalanx("schedule --kind zb-h1 --pp 2 --chunks 1 --micro-batches 8 --json");
  ASSERT_EQ(file.code, 0) << file.err;
  write_file_atomic(path("ours.json"), file.out);
  // An evaluation has other micro-batches than the file is for.
  const std::string common = kRun + "--train.eval_interval=3 --train.eval_iters=2 ";
  expect_same_curve(train("file", common + "--parallel.pipeline=2 --parallel.schedule=ours.json "),
                    train("one", common));
}

// What it says must be what the run has, and that is known before anything starts.
TEST_F(LayoutTrain, AScheduleFileForAnotherRunIsRefused) {
  write_file_atomic(path("ours.json"),
                    phalanx("schedule --kind gpipe --pp 4 --chunks 1 --micro-batches 3 --json").out);
  Ran ran = phalanx("train " + kRun + "--parallel.pipeline=2 --parallel.schedule=ours.json --run-dir no");
  EXPECT_EQ(ran.code, 3) << ran.err;
  EXPECT_THAT(ran.err, HasSubstr("ours.json is for 4 pipeline ranks, the run has 2"));
  EXPECT_THAT(ran.err, HasSubstr("ours.json is for 3 micro-batches a step, the run has 8"));
  write_file_atomic(path("eight.json"), phalanx("schedule --kind gpipe --pp 2 --micro-batches 8 --json").out);
  ran = phalanx("train " + kModel +
                "--train.train_samples=29 --parallel.pipeline=2 --parallel.schedule=eight.json "
                "--run-dir no");
  EXPECT_EQ(ran.code, 3) << ran.err;
  EXPECT_THAT(ran.err, HasSubstr("eight.json is for steps of one size"));
  ran = phalanx("train " + kRun + "--parallel.pipeline=2 --parallel.schedule=nowhere.json --run-dir no");
  EXPECT_THAT(ran.err, HasSubstr("nowhere.json"));
  EXPECT_NE(ran.code, 0);
  EXPECT_FALSE(path_exists(path("no")));
}

TEST_F(LayoutTrain, ARunGoesOnUnderAnyOtherLayout) {
  const std::vector<StepMetrics> whole = train("whole", kRun);
  train("begun", kRun + kTensorAndPipeline + "--train.exit_interval=3 ");
  int number = 0;
  for (const std::string& layout : {kTensorAndPipeline, kShardedData, kOneRank,
                                    kOneRank + "--parallel.pipeline=4 --parallel.schedule=gpipe "}) {
    const std::string name = "on_" + std::to_string(++number);
    std::filesystem::copy(path("begun"), path(name), std::filesystem::copy_options::recursive);
    const Ran ran = phalanx("train " + name + " " + layout);
    ASSERT_EQ(ran.code, 0) << ran.err;
    EXPECT_THAT(ran.err, HasSubstr("at step 3"));
    expect_same_curve(read_metrics(path(name) + "/metrics.jsonl"), whole);
  }
}

// A hybrid's fused projections, and B and C that ranks share: tensor parallel 4 holds each of 2 groups twice.
TEST_F(LayoutTrain, AHybridGoesOnUnderAnotherLayout) {
  const std::string hybrid =
      "--preset tiny --model.num_layers=4 --model.pattern=M*-m --model.hidden_size=32 --model.seq_length=16 --model.normalization=rms_norm "
      "--model.bias=false --model.mamba_head_dim=8 --model.mamba_num_groups=2 --model.mamba_state_dim=4 "
      "--model.mamba_chunk_size=8 --model.mamba1_state_dim=4 --model.mamba_norm_group_size=64 --mock-data "
      "--mock-mask-fraction 0.2 --dtype fp64 --train.micro_batch_size=1 --train.global_batch_size=8 "
      "--train.train_iters=4 --runtime.threads=1 ";
  const std::vector<StepMetrics> whole = train("whole", hybrid);
  train("begun", hybrid + "--parallel.tensor=4 --parallel.sequence_parallel=true --train.exit_interval=2 ");
  std::filesystem::copy(path("begun"), path("on"), std::filesystem::copy_options::recursive);
  for (const auto& [name, layout] : std::vector<std::pair<std::string, std::string>>{
           {"begun", "--parallel.tensor=1 --parallel.sequence_parallel=false --parallel.pipeline=2 "},
           {"on", "--parallel.tensor=2 --parallel.data=2 --parallel.zero_stage=1 "}}) {
    const Ran ran = phalanx("train " + name + " " + layout);
    ASSERT_EQ(ran.code, 0) << ran.err;
    EXPECT_THAT(ran.err, HasSubstr("at step 2"));
    expect_same_curve(read_metrics(path(name) + "/metrics.jsonl"), whole);
  }
}

// One rank, then two kinds of four, then sharded data: three changes of layout in one run.
TEST_F(LayoutTrain, ARunChangesItsLayoutAgainAndAgain) {
  const std::vector<StepMetrics> whole = train("whole", kRun);
  train("run", kRun + "--train.exit_interval=1 ");
  for (const auto& [stop, layout] : std::vector<std::pair<int, std::string>>{
           {2, kTensorAndPipeline}, {4, kShardedData + "--parallel.tensor=2 "}, {6, kShardedData}}) {
    const Ran ran = phalanx("train run " + layout + "--train.exit_interval=" + std::to_string(stop));
    ASSERT_EQ(ran.code, 0) << ran.err;
  }
  expect_same_curve(read_metrics(path("run") + "/metrics.jsonl"), whole);
}

// The bars in the pattern are where stages end, not what the model is.
TEST_F(LayoutTrain, UnevenStagesGoOnInOnePiece) {
  const std::string common = kRun + "--model.num_layers=0 ";
  const std::vector<StepMetrics> whole = train("whole", common + "--model.pattern='*-*-*-' ");
  train("run", common + "--model.pattern='*-*-*|-' --parallel.pipeline=2 --train.exit_interval=3 ");
  const Ran ran = phalanx("train run " + kOneRank);
  ASSERT_EQ(ran.code, 0) << ran.err;
  expect_same_curve(read_metrics(path("run") + "/metrics.jsonl"), whole);
}

// What is written for a pipeline serves one rank, too: a V of two chunks, a file.
TEST_F(LayoutTrain, TheScheduleOfAPipelineGoesOnOnOneRank) {
  const std::vector<StepMetrics> whole = train("whole", kRun);
  write_file_atomic(path("ours.json"), phalanx("schedule --kind zb-h1 --pp 2 --micro-batches 8 --json").out);
  const std::string two = "--parallel.pipeline=2 --train.exit_interval=3 ";
  train("v", kRun + two + "--parallel.schedule=zb-v --parallel.chunks=2 ");
  train("file", kRun + two + "--parallel.schedule=ours.json ");
  for (const std::string name : {"v", "file"}) {
    const Ran ran = phalanx("train " + name + " --parallel.pipeline=1 --parallel.chunks=1");
    ASSERT_EQ(ran.code, 0) << ran.err;
    expect_same_curve(read_metrics(path(name) + "/metrics.jsonl"), whole);
  }
}

// The scale of 2^32 overflows at first: those steps are skipped by all ranks, and the scale comes down, also over a resume.
TEST_F(LayoutTrain, Fp16SkipsUntilTheScaleFits) {
  const std::string fp16 =
      kModel +
      "--dtype fp16 --optim.hysteresis=1 --optim.initial_loss_scale=4294967296 --parallel.tensor=2 "
      "--parallel.data=2 --parallel.zero_stage=1 ";
  const std::vector<StepMetrics> whole = train("whole", fp16 + "--train.train_iters=24 ");
  ASSERT_EQ(whole.size(), 24U);
  size_t skipped = 0;
  while (skipped < whole.size() && whole[skipped].skipped.value_or(false)) ++skipped;
  EXPECT_GT(skipped, 0U);
  ASSERT_LT(skipped, 20U) << "the scale must fit some time";
  int halvings = 0;  // a later step may overflow once more
  for (size_t i = 0; i < whole.size(); ++i) {
    ASSERT_TRUE(whole[i].loss_scale.has_value());
    EXPECT_EQ(*whole[i].loss_scale, std::ldexp(1.0, 32 - halvings)) << i;
    const bool skips = whole[i].skipped.value_or(false);
    EXPECT_EQ(std::isfinite(whole[i].grad_norm), !skips) << i;
    halvings += skips ? 1 : 0;
  }
  EXPECT_LT(whole.back().loss, whole.front().loss);
  train("parts", fp16 + "--train.train_iters=24 --train.exit_interval=3 ");
  const std::vector<StepMetrics> parts = train("parts", "parts ");
  ASSERT_EQ(parts.size(), whole.size());
  for (size_t i = 0; i < whole.size(); ++i) {
    EXPECT_EQ(parts[i].loss_scale, whole[i].loss_scale) << i;
    EXPECT_EQ(parts[i].loss, whole[i].loss) << i;
  }
}

TEST_F(LayoutTrain, DrawsOneStepBesideItsPlan) {
  train("drawn", kRun + "--parallel.pipeline=2 --parallel.schedule=zb-h1 --log.timeline_step=2 ");
  const std::string picture = read_file(path("drawn") + "/timeline_step_2.svg");
  EXPECT_THAT(picture, HasSubstr("Step 2 as it ran, zb-h1"));
  EXPECT_THAT(picture, HasSubstr("no waiting"));
  const std::string trace = read_file(path("drawn") + "/timeline_step_2.json");
  const Json events = parse_json(trace, "trace");
  size_t weights = 0;
  for (const Json& event : events)
    weights += event.contains("name") && event.at("name").get<std::string>().starts_with("W");
  EXPECT_EQ(weights, 16U) << "8 micro-batches on 2 stages, weight gradients apart";
  EXPECT_FALSE(path_exists(path("drawn") + "/timeline_step_1.svg"));
}

// What every rank asked of the others last outlives the run.
TEST_F(LayoutTrain, LeavesAFlightRecorderOfEveryRank) {
  train("run", kRun + kTensorAndPipeline);
  for (int rank = 0; rank < 4; ++rank) {
    const comm::FlightLog log =
        comm::read_flight(path("run") + "/flight/rank_" + std::to_string(rank) + ".flight");
    EXPECT_EQ(log.header.rank, rank);
    ASSERT_FALSE(log.records.empty());
    EXPECT_STREQ(log.records.back().state(), "done");
  }
}

TEST_F(LayoutTrain, VerifyLayoutProvesALayout) {
  const Ran ran = phalanx("verify-layout " + kModel + kTensorAndPipeline + "--dtype fp64");
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("equal within 1e-10 relative, weights within 1e-10"));
  const Ran json = phalanx("verify-layout " + kModel + kShardedData + "--steps 2 --json");
  EXPECT_EQ(json.code, 0) << json.err;
  const Json result = parse_json(json.out, "stdout");
  EXPECT_EQ(result.at("equal"), true);
  EXPECT_EQ(result.at("world_size"), 2);
  EXPECT_EQ(result.at("losses").size(), 2U);
  EXPECT_FALSE(path_exists(path("runs"))) << "nothing is written";
}

// No layout can be broken from outside. But two runs in fp32 drift apart with a large rate, which is a difference, too.
TEST_F(LayoutTrain, VerifyLayoutNamesTheFirstDifference) {
  const Ran ran = phalanx("verify-layout " + kModel + kTensorAndPipeline +
                          "--dtype fp32 --steps 60 --optim.lr=3e-2 --json");
  EXPECT_EQ(ran.code, 6) << ran.out;
  const Json result = parse_json(ran.out, "stdout");
  EXPECT_EQ(result.at("equal"), false);
  EXPECT_THAT(result.at("difference").get<std::string>(), ::testing::StartsWith("step "));
  EXPECT_THAT(result.at("difference").get<std::string>(), HasSubstr("on one rank"));
}

TEST_F(LayoutTrain, VerifyLayoutRefusesWhatItCannotCompare) {
  const auto refused = [&](const std::string& arguments, int code, const std::string& words) {
    const Ran ran = phalanx("verify-layout " + arguments);
    EXPECT_EQ(ran.code, code) << arguments << ran.err;
    EXPECT_THAT(ran.err, HasSubstr(words)) << arguments;
    EXPECT_EQ(ran.out, "") << arguments;
  };
  refused(kModel, 2, "a layout of one rank");
  for (const std::string steps : {"0", "-1", "1001", "many"}) {
    refused(kModel + "--parallel.tensor=2 --steps " + steps, 2, "'" + steps + "'");
  }
  refused("--preset tiny --parallel.tensor=2", 3, "--mock-data");
  refused(kModel + "--parallel.tensor=3", 3, "heads = 4 is no multiple of tp = 3");
  refused(kModel + "--parallel.tensor=2 --paralel.pipeline=2", 2, "parallel");
}

TEST_F(LayoutTrain, EveryBrokenRuleStandsInOneMessage) {
  const std::string model =
      "train --preset tiny --model.hidden_size=48 --model.num_layers=3 --model.num_attention_heads=6 "
      "--model.num_query_groups=3 --model.ffn_hidden_size=70 --model.vocab_size=211 "
      "--model.make_vocab_size_divisible_by=1 --model.seq_length=15 --mock-data --train.train_iters=1 --run-dir no ";
  const Ran ran =
      phalanx(model +
              "--train.global_batch_size=7 --parallel.tensor=4 --parallel.pipeline=2 --parallel.data=2 "
              "--parallel.sequence_parallel=true --parallel.zero_stage=2 --parallel.schedule=zb-v");
  EXPECT_EQ(ran.code, 3);
  for (const char* rule :
       {"global_batch = 7 is no multiple of dp x micro_batch = 2",
        "padded vocab = 211 is no multiple of tp = 4", "heads = 6 is no multiple of tp = 4",
        "kv_groups = 3 is neither a multiple nor a divisor of tp = 4", "ffn = 70 is no multiple of tp = 4",
        "micro_batch x sequence = 15 is no multiple of tp x cp = 4",
        "transformer layers = 3 is no multiple of pp x chunks = 2", "schedule zb-v has 2",
        "zero_stage = 2"}) {
    EXPECT_THAT(ran.err, HasSubstr(rule));
  }
  EXPECT_EQ(ran.out, "");
  EXPECT_FALSE(path_exists(path("no"))) << "no rank has started";
}

TEST_F(LayoutTrain, StagesThatDoNotFitAreNamed) {
  const auto refused = [&](const std::string& arguments, const std::string& words) {
    const Ran ran = phalanx("train " + kRun + arguments + " --run-dir no");
    EXPECT_EQ(ran.code, 3) << arguments;
    EXPECT_THAT(ran.err, HasSubstr(words)) << arguments;
  };
  refused("--model.num_layers=0 --model.pattern='*-|*-|*-' --parallel.pipeline=2",
          "the pattern names 3 stages");
  refused("--parallel.pipeline=8", "transformer layers = 4 are fewer than pp x chunks = 8");
  refused("--parallel.chunks=2", "needs pipeline above 1");
  refused("--parallel.pipeline=2 --parallel.schedule=2f2b", "'2f2b'");
  refused("--parallel.tensor=2 --world-size 3", "world_size = 3 is no multiple");
  refused("--parallel.tensor=0", "tensor = 0");
  refused("--parallel.context=2", "context = 2");
  EXPECT_FALSE(path_exists(path("no")));
}

}  // namespace
}  // namespace phalanx
