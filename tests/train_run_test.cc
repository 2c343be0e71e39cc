// Whole runs of the real binary: resume bit for bit, signals, NaN, evaluation, dtypes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "phalanx/base/json.h"
#include "phalanx/telemetry/metrics.h"
#include "tests/program.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;
using testing::Ran;
using testing::run_program;

const std::string kTiny =
    "train --preset tiny --model.num_layers=1 --model.seq_length=32 --mock-data --mock-mask-fraction 0.2 "
    "--model.hidden_dropout=0.1 --train.micro_batch_size=2 --train.global_batch_size=4 --threads 1 ";

class TrainRun : public ::testing::Test {
 protected:
  TemporaryDirectory folder_;
  Ran train(const std::string& more) { return run_program(kTiny + more, folder_.path()); }
  std::vector<StepMetrics> metrics(const std::string& run) {
    return read_metrics(folder_.path() + "/" + run + "/metrics.jsonl");
  }
};

void expect_same_numbers(const std::vector<StepMetrics>& a, const std::vector<StepMetrics>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].step, b[i].step);
    EXPECT_EQ(a[i].loss, b[i].loss) << "step " << a[i].step;
    EXPECT_EQ(a[i].grad_norm, b[i].grad_norm) << "step " << a[i].step;
    EXPECT_EQ(a[i].lr, b[i].lr) << "step " << a[i].step;
    EXPECT_EQ(a[i].valid_loss, b[i].valid_loss) << "step " << a[i].step;
    EXPECT_EQ(a[i].consumed_samples, b[i].consumed_samples);
  }
}

// fp64, fp32 and bf16: stopped and resumed twice against never stopped.
TEST_F(TrainRun, ResumedRunContinuesBitForBit) {
  for (const std::string dtype : {"fp64", "fp32", "bf16"}) {
    const std::string common =
        "--train.train_iters=9 --train.eval_interval=3 --train.eval_iters=2 --dtype " + dtype;
    const std::string whole = "whole_" + dtype, parts = "parts_" + dtype;
    Ran ran = train(common + " --run-dir " + whole);
    ASSERT_EQ(ran.code, 0) << ran.err;
    ran = train(common + " --train.exit_interval=4 --run-dir " + parts);
    ASSERT_EQ(ran.code, 0) << ran.err;
    EXPECT_THAT(ran.err, HasSubstr("to go on: phalanx train " + parts));
    ran = run_program("train " + parts, folder_.path());  // stops at 8
    ASSERT_EQ(ran.code, 0) << ran.err;
    EXPECT_THAT(ran.err, HasSubstr("resumed from"));
    ran = run_program("train " + parts + "/config.toml --train.exit_interval=none", folder_.path());
    ASSERT_EQ(ran.code, 0) << ran.err;
    expect_same_numbers(metrics(whole), metrics(parts));
  }
}

TEST_F(TrainRun, RampUpAndSampleCountsResumeToo) {
  const std::string common =
      "--train.train_iters=0 --train.train_samples=40 --train.rampup_batch_size=2,2,12 --optim.lr_warmup_samples=6 ";
  ASSERT_EQ(train(common + "--run-dir whole").code, 0);
  ASSERT_EQ(train(common + "--train.exit_interval=5 --run-dir parts").code, 0);
  ASSERT_EQ(run_program("train parts/config.toml --train.exit_interval=none", folder_.path()).code, 0);
  expect_same_numbers(metrics("whole"), metrics("parts"));
  const std::vector<StepMetrics> m = metrics("whole");
  EXPECT_EQ(m.front().consumed_samples, 2);
  EXPECT_EQ(m.back().consumed_samples, 40);
  EXPECT_EQ(m.front().tokens * 2, m.back().tokens) << "the batch grew from 2 to 4 samples";
}

TEST_F(TrainRun, SignalSavesAndSaysHowToGoOn) {
  const Ran ran = run_program(kTiny + "--train.train_iters=100000 --run-dir run", folder_.path(),
                              "timeout --preserve-status -s TERM 8");
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_THAT(ran.err, HasSubstr("to go on: phalanx train run"));
  const int64_t last = metrics("run").back().step;
  EXPECT_TRUE(
      path_exists(folder_.path() + "/run/checkpoints/step_" + std::to_string(last) + "/manifest.json"));
}

TEST_F(TrainRun, NotANumberStopsWithExitCode6AndKeepsEarlierCheckpoints) {
  const Ran ran = train(
      "--train.train_iters=200 --checkpoint.save_interval=1 --optim.lr=1e18 --optim.min_lr=1e18 "
      "--optim.clip_grad=0 --run-dir run");
  EXPECT_EQ(ran.code, 6) << ran.err;
  EXPECT_THAT(ran.err, HasSubstr("needed finite numbers"));
  EXPECT_THAT(ran.err, HasSubstr("start again from step"));
  EXPECT_TRUE(path_exists(folder_.path() + "/run/checkpoints/step_1/manifest.json"));
}

TEST_F(TrainRun, SkippedStepsChangeNothing) {
  ASSERT_EQ(train("--train.train_iters=3 --train.iterations_to_skip=2 --run-dir run").code, 0);
  const std::vector<StepMetrics> m = metrics("run");
  EXPECT_EQ(m[1].skipped, true);
  EXPECT_FALSE(m[2].skipped.has_value());
}

TEST_F(TrainRun, AFreshStartSetsEarlierMetricsAside) {
  ASSERT_EQ(train("--train.train_iters=4 --run-dir run").code, 0);
  std::filesystem::remove_all(folder_.path() + "/run/checkpoints");
  const Ran ran = train("--train.train_iters=2 --run-dir run");
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_THAT(ran.err, HasSubstr("metrics.jsonl.1"));
  EXPECT_EQ(metrics("run").size(), 2U);
  EXPECT_EQ(read_metrics(folder_.path() + "/run/metrics.jsonl.1").size(), 4U);
}

TEST_F(TrainRun, AnotherModelInTheRunFolderIsRefused) {
  ASSERT_EQ(train("--train.train_iters=1 --run-dir run").code, 0);
  const Ran ran = train("--train.train_iters=2 --model.hidden_size=64 --run-dir run");
  EXPECT_EQ(ran.code, 3);
  EXPECT_THAT(ran.err, HasSubstr("hidden_size 128 (here 64)"));
}

TEST_F(TrainRun, FlippedByteInACheckpointIsFound) {
  ASSERT_EQ(train("--train.train_iters=1 --run-dir run").code, 0);
  const std::string path = folder_.path() + "/run/checkpoints/step_1/rank_00000.safetensors";
  std::string bytes = read_file(path);
  bytes[bytes.size() - 100] = static_cast<char>(bytes[bytes.size() - 100] ^ 1);
  write_file_atomic(path, bytes);
  const Ran ran = train("--train.train_iters=2 --run-dir run");
  EXPECT_EQ(ran.code, 3);
  EXPECT_THAT(ran.err, HasSubstr("rank_00000.safetensors"));
}

TEST_F(TrainRun, FullDiskLeavesEarlierCheckpointsIntact) {
  ASSERT_EQ(train("--train.train_iters=1 --run-dir run").code, 0);
  // A limit on file size stands in for a full disk: the write fails half way.
  const Ran ran = run_program(kTiny + "--train.train_iters=2 --run-dir run", folder_.path(),
                              "trap '' XFSZ; ulimit -f 2000;");
  EXPECT_EQ(ran.code, 4) << ran.err;
  EXPECT_THAT(ran.err, HasSubstr("step_2"));
  EXPECT_TRUE(path_exists(folder_.path() + "/run/checkpoints/step_1/manifest.json"));
  EXPECT_FALSE(path_exists(folder_.path() + "/run/checkpoints/step_2"));
  ASSERT_EQ(train("--train.train_iters=2 --run-dir run").code, 0);
}

TEST_F(TrainRun, AFinishedRunSaysSo) {
  const Ran first = train("--train.train_iters=2 --json --run-dir run");
  const Ran again = train("--train.train_iters=2 --json --run-dir run");
  EXPECT_EQ(again.code, 0);
  EXPECT_THAT(again.err, HasSubstr("nothing left to do"));
  EXPECT_EQ(first.out, again.out);
}

TEST_F(TrainRun, SummaryIsJsonOnStdoutAndNothingElse) {
  const Ran ran = train("--train.train_iters=2 --json --run-dir run");
  const Json summary = parse_json(ran.out, "stdout");
  EXPECT_EQ(summary.at("step"), 2);
  EXPECT_EQ(summary.at("finished"), true);
}

}  // namespace
}  // namespace phalanx
