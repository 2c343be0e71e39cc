// Whole runs of the real binary: resume bit for bit, signals, NaN, evaluation, dtypes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "phalanx/base/json.h"
#include "phalanx/telemetry/metrics.h"
#include "tests/program.h"

namespace phalanx {
namespace {

using ::testing::ContainsRegex;
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
    ran = run_program("train " + parts + " --train.exit_interval=8", folder_.path());
    ASSERT_EQ(ran.code, 0) << ran.err;
    EXPECT_THAT(ran.err, HasSubstr("resumed from"));
    ran = run_program("train " + parts + "/config.toml", folder_.path());
    ASSERT_EQ(ran.code, 0) << ran.err;
    expect_same_numbers(metrics(whole), metrics(parts));
  }
}

TEST_F(TrainRun, RampUpAndSampleCountsResumeToo) {
  const std::string common =
      "--train.train_iters=0 --train.train_samples=40 --train.rampup_batch_size=2,2,12 --optim.lr_warmup_samples=6 ";
  ASSERT_EQ(train(common + "--run-dir whole").code, 0);
  ASSERT_EQ(train(common + "--train.exit_interval=5 --run-dir parts").code, 0);
  ASSERT_EQ(run_program("train parts/config.toml", folder_.path()).code, 0);
  expect_same_numbers(metrics("whole"), metrics("parts"));
  const std::vector<StepMetrics> m = metrics("whole");
  EXPECT_EQ(m.front().consumed_samples, 2);
  EXPECT_EQ(m.back().consumed_samples, 40);
  EXPECT_EQ(m.front().tokens * 2, m.back().tokens) << "the batch grew from 2 to 4 samples";
}

TEST_F(TrainRun, SignalSavesAndSaysHowToGoOn) {
  const Ran ran = run_program(kTiny + "--train.train_iters=100000 --run-dir run", folder_.path(),
                              "timeout --preserve-status -s TERM 3");
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

// Batches made ahead are the batches made on demand, and the record says what waiting for them cost.
TEST_F(TrainRun, PrefetchedBatchesAreTheSameBatches) {
  const std::string common =
      "--train.train_iters=0 --train.train_samples=26 --train.rampup_batch_size=2,2,12 ";
  ASSERT_EQ(train(common + "--data.prefetch_steps=0 --run-dir on_demand").code, 0);
  ASSERT_EQ(train(common + "--data.prefetch_steps=3 --run-dir ahead").code, 0);
  expect_same_numbers(metrics("on_demand"), metrics("ahead"));
  for (const StepMetrics& m : metrics("ahead")) {
    ASSERT_TRUE(m.data_stall.has_value());
    EXPECT_GE(*m.data_stall, 0.0);
    EXPECT_LT(*m.data_stall, 1.0);
  }
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
  const std::string before = read_file(folder_.path() + "/run/config.toml");
  const Ran ran = train("--train.train_iters=2 --model.hidden_size=64 --run-dir run");
  EXPECT_EQ(ran.code, 3);
  EXPECT_THAT(ran.err, HasSubstr("hidden_size 128 (here 64)"));
  EXPECT_EQ(read_file(folder_.path() + "/run/config.toml"), before) << "a start that fails changes nothing";
}

// The folder is the run: it may move, and another --run-dir is another run.
TEST_F(TrainRun, ARunFolderMayMoveAndServeAsARecipe) {
  ASSERT_EQ(train("--train.train_iters=2 --run-dir first").code, 0);
  std::filesystem::rename(folder_.path() + "/first", folder_.path() + "/moved");
  const Ran moved = run_program("train moved --train.train_iters=3", folder_.path());
  EXPECT_EQ(moved.code, 0) << moved.err;
  EXPECT_THAT(moved.err, HasSubstr("resumed from moved/checkpoints/step_2"));
  EXPECT_FALSE(path_exists(folder_.path() + "/first"));
  ASSERT_EQ(run_program("train . ", folder_.path() + "/moved").code, 0);
  const Ran other = run_program("train moved --run-dir other --model.hidden_size=64", folder_.path());
  EXPECT_EQ(other.code, 0) << other.err;
  EXPECT_THAT(other.err, ContainsRegex("kv_channels +16 "));
  EXPECT_TRUE(path_exists(folder_.path() + "/other/checkpoints/step_3/manifest.json"));
}

TEST_F(TrainRun, GoingBackToAnEarlierStepSetsNewerOnesAside) {
  ASSERT_EQ(train("--train.train_iters=4 --checkpoint.save_interval=2 --run-dir run").code, 0);
  const Ran back = run_program("train run --checkpoint.load_step=2 --train.exit_interval=3", folder_.path());
  ASSERT_EQ(back.code, 0) << back.err;
  EXPECT_TRUE(path_exists(folder_.path() + "/run/checkpoints/abandoned_step_4"));
  const Ran on = run_program("train run", folder_.path());
  EXPECT_THAT(on.err, HasSubstr("step_3 at step 3"));
}

TEST_F(TrainRun, OtherSettingsOnAResumeAreReported) {
  ASSERT_EQ(train("--train.train_iters=1 --run-dir run").code, 0);
  const Ran ran = train("--train.train_iters=2 --train.seed=99 --optim.lr=1e-3 --run-dir run");
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_THAT(ran.err, HasSubstr("train.seed 99 (was 1234)"));
  EXPECT_THAT(ran.err, HasSubstr("optim.lr 0.001 (was 0.0003)"));
  EXPECT_THAT(train("--train.train_iters=2 --train.seed=99 --optim.lr=1e-3 --run-dir run").err,
              Not(HasSubstr("other settings")));
}

TEST_F(TrainRun, ATokenizerSetsTheVocabularyOfAPreset) {
  const std::string bytes = "--train.train_iters=1 --tokenizer-type ByteTokenizer ";
  EXPECT_THAT(train(bytes + "--run-dir preset").err, ContainsRegex("vocab_size +257 "));
  EXPECT_THAT(train(bytes + "--model.vocab_size=600 --run-dir wide").err, ContainsRegex("vocab_size +600 "));
  EXPECT_EQ(train(bytes + "--model.vocab_size=100 --run-dir narrow").code, 3);
}

TEST_F(TrainRun, ACheckpointFolderIsNoRun) {
  ASSERT_EQ(train("--train.train_iters=1 --run-dir run").code, 0);
  write_file_atomic(folder_.path() + "/run/checkpoints/step_1/config.toml", "[model]\nvocab_size = 512\n");
  const Ran ran =
      run_program("train run/checkpoints/step_1 --mock-data --train.train_iters=1", folder_.path());
  EXPECT_EQ(ran.code, 3);
  EXPECT_THAT(ran.err, HasSubstr("--checkpoint.finetune=true"));
}

TEST_F(TrainRun, APartWithoutDocumentsIsAnError) {
  write_file_atomic(folder_.path() + "/text.txt", std::string(5000, 'a'));
  ASSERT_EQ(
      run_program(
          "data tokenize --input text.txt --output-prefix t --tokenizer-type ByteTokenizer --append-eod",
          folder_.path())
          .code,
      0);
  const std::string command =
      "train --preset tiny --model.seq_length=32 --data-path t_text_document --tokenizer-type ByteTokenizer "
      "--train.train_iters=1 --run-dir run ";
  const Ran no_train = run_program(command + "--split 0,100,0", folder_.path());
  EXPECT_EQ(no_train.code, 3) << no_train.err;
  const Ran no_valid = run_program(command + "--split 100,0,0 --train.eval_interval=1", folder_.path());
  EXPECT_EQ(no_valid.code, 3) << no_valid.err;
  EXPECT_THAT(no_valid.err, HasSubstr("--split"));
}

TEST_F(TrainRun, OneProcessAFolder) {
  const Ran ran = run_program(kTiny + "--train.train_iters=1 --run-dir run", folder_.path(),
                              "mkdir -p run && flock run/.lock");
  EXPECT_EQ(ran.code, 3);
  EXPECT_THAT(ran.err, HasSubstr("another process at work"));
}

// Megatron's scripts name one folder for both, also before anything is in it.
TEST_F(TrainRun, SaveAndLoadMayBeTheSameEmptyFolder) {
  const Ran ran = train("--train.train_iters=1 --run-dir run --checkpoint.save=ckpt --checkpoint.load=ckpt");
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_THAT(ran.err, HasSubstr("nothing to load yet"));
}

// What the values are is in checkpoint_test; here that every such start works.
TEST_F(TrainRun, ARunGoesOnInAnotherDtype) {
  ASSERT_EQ(train("--train.train_iters=3 --dtype bf16 --run-dir run").code, 0);
  const std::string skip = " --train.skip_train=true --train.eval_iters=2 --json";
  ASSERT_EQ(run_program("train run --dtype fp32 --train.train_iters=4", folder_.path()).code, 0);
  ASSERT_EQ(run_program("train run --dtype bf16 --train.train_iters=5", folder_.path()).code, 0);
  EXPECT_EQ(run_program("train run" + skip, folder_.path()).code, 0);
}

TEST_F(TrainRun, SettingsThatCannotWorkAreRefusedBeforeAnythingIsWritten) {
  for (const auto& [flags, message] : std::vector<std::pair<std::string, std::string>>{
           {"--checkpoint.save_interval=0", "checkpoint.save_interval is 0"},
           {"--train.exit_interval=-1", "train.exit_interval is -1"},
           {"--checkpoint.save_retain_interval=0", "checkpoint.save_retain_interval is 0"},
           {"--threads 100000", "runtime.threads is 100000"},
           {"--train.global_batch_size=100000000", "beyond 2^31 tokens"},
           {"--train.train_iters=9223372036854775807", "2^50 samples"},
           {"--train.seed=-1", "train.seed is -1"},
           {"--train.reset_position_ids=true", "--tokenizer-type"},
           {"--data-path x", "keep one of them"},
           {"--parallel.order=zzz", "order 'zzz' has the unknown axis 'zzz'"},
           {"--parallel.tensor=3", "heads = 4 is no multiple of tp = 3"},
           {"--parallel.schedule=foo", "'foo'"},
           {"--run-dir \"$(printf 'p\\377')\"", "UTF-8"}}) {
    std::string common = kTiny;
    for (const std::string flag : {"--threads 1 ", "--train.global_batch_size=4 "}) {
      if (flags.find(flag.substr(0, flag.find_first_of(" ="))) == std::string::npos) continue;
      common.erase(common.find(flag), flag.size());
    }
    const bool own_iters = flags.find("train_iters") != std::string::npos;
    const bool own_dir = flags.find("run-dir") != std::string::npos;
    const Ran ran = run_program(
        common + (own_iters ? "" : "--train.train_iters=1 ") + (own_dir ? "" : "--run-dir no ") + flags,
        folder_.path());
    EXPECT_EQ(ran.code, 3) << flags << ran.err;
    EXPECT_THAT(ran.err, HasSubstr(message)) << flags;
    EXPECT_FALSE(path_exists(folder_.path() + "/no")) << flags;
  }
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
