// generate and score as a process on several ranks: the same tokens and log probabilities as on one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <sstream>

#include "phalanx/checkpoint/test_folders.h"
#include "tests/program.h"

namespace phalanx {
namespace {

using ::testing::AllOf;
using testing::copy_fixture;
using testing::fixture;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::Ran;
using testing::run_program;
using testing::write_text;

// Far from zero, so that texts vary; four ranks hold each group of keys and values twice and pad the
// vocabulary. One thread: these models are too small to share.
const std::string kTrain =
    "train --preset tiny --mock-data --train.train_iters=8 --model.num_layers=4 --model.hidden_size=32 "
    "--model.num_attention_heads=4 --model.num_query_groups=2 --model.vocab_size=90 --model.seq_length=48 "
    "--model.make_vocab_size_divisible_by=1 --model.init_std=0.3 --optim.lr=0.01 --run-dir run --threads 1 --dtype ";
// Every spelling of the two flags.
const std::vector<std::string> kLayouts = {"--tensor 2", "--tensor-model-parallel-size 4", "--pipeline 2",
                                           "--tensor=2 --pipeline-model-parallel-size 2",
                                           "--parallel.tensor=4 --parallel.pipeline=2"};
const std::string kGreedy = " --prompt-tokens 5,9,3 --max-tokens 24 --temperature 0";
const std::string kSampled = " --prompt-tokens 5,9,3 --max-tokens 24 --temperature 0.8 --top-k 40 --seed 11";

const std::string kTrainHybrid =
    "train --mock-data --train.train_iters=8 --model.pattern=M*-mM-M* --model.hidden_size=32 "
    "--model.position_embedding=none --model.mamba_num_heads=4 --model.mamba_head_dim=16 --model.mamba_num_groups=2 "
    "--model.mamba_state_dim=8 --model.mamba_chunk_size=16 --model.num_attention_heads=4 --model.num_query_groups=2 "
    "--model.vocab_size=90 --model.seq_length=48 --model.make_vocab_size_divisible_by=1 --model.init_std=0.3 "
    "--optim.lr=0.01 --run-dir run --threads 1 --dtype fp64";

class ParallelGenerate : public ::testing::Test {
 protected:
  std::string path(const std::string& name) const { return folder_.path() + "/" + name; }
  Ran run(const std::string& arguments, const std::string& prefix = "") const {
    return run_program(arguments, folder_.path(), prefix);
  }
  void train(const std::string& dtype, const std::string& more = "") const {
    const Ran ran = run(kTrain + dtype + more);
    ASSERT_EQ(ran.code, 0) << ran.err;
  }
  Json tokens_of(const std::string& arguments) const {
    const Ran ran = run("generate --threads 1 --json " + arguments);
    EXPECT_EQ(ran.code, 0) << ran.err;
    return ran.code == 0 ? parse_json(ran.out, "stdout").at("tokens") : Json::array();
  }
  std::vector<std::vector<double>> scores_of(const std::string& arguments) const {
    const Ran ran = run("score --threads 1 --input in.jsonl --output out.jsonl " + arguments);
    EXPECT_EQ(ran.code, 0) << ran.err;
    std::vector<std::vector<double>> scores;
    if (ran.code != 0) return scores;
    std::istringstream lines(read_file(path("out.jsonl")));
    for (std::string line; std::getline(lines, line);) {
      scores.push_back(parse_json(line, "out.jsonl").at("logprobs").get<std::vector<double>>());
    }
    return scores;
  }
  void expect_same_scores(const std::string& model, const std::vector<std::string>& layouts,
                          double bar) const {
    write_text(path("in.jsonl"),
               "{\"tokens\": [1, 2, 3, 4, 5, 6, 7, 8, 9, 80]}\n\n{\"tokens\": [7]}\n"
               "{\"tokens\": [88, 0, 88]}\n{\"tokens\": []}\n{\"tokens\": [4, 4]}\n");
    const auto want = scores_of(model);
    ASSERT_EQ(want.size(), 5U);
    EXPECT_EQ(want[0].size(), 9U);
    for (const std::string& layout : layouts) {
      const auto got = scores_of(model + " " + layout);
      ASSERT_EQ(got.size(), want.size()) << layout;
      for (size_t i = 0; i < want.size(); ++i) {
        ASSERT_EQ(got[i].size(), want[i].size()) << layout;
        for (size_t t = 0; t < want[i].size(); ++t)
          EXPECT_NEAR(got[i][t], want[i][t], bar) << layout << " line " << i;
      }
    }
  }

  TemporaryDirectory folder_;
};

// One repeated token would prove little.
size_t count_distinct(const Json& tokens) {
  return std::set<Json>(tokens.begin(), tokens.end()).size();
}

TEST_F(ParallelGenerate, HybridsMakeTheSameTokensFromOnePromptAndFromMany) {
  const Ran ran = run(kTrainHybrid);
  ASSERT_EQ(ran.code, 0) << ran.err;
  const Json want = tokens_of("--model run" + kGreedy);
  EXPECT_EQ(want.size(), 24U);
  EXPECT_GT(count_distinct(want), 4U) << want;
  const Json drawn = tokens_of("--model run" + kSampled);
  EXPECT_GT(count_distinct(drawn), 8U) << drawn;
  write_text(path("prompts.jsonl"),
             "{\"tokens\": [5, 9, 3]}\n{\"tokens\": [7]}\n{\"tokens\": [1, 2, 3, 4, 5, 6, 7, 8]}\n");
  const auto file = [&](const std::string& more) {
    const Ran made =
        run("generate --threads 1 --model run --input prompts.jsonl --output out.jsonl --batch 2 "
            "--max-tokens 24 --temperature 0 " +
            more);
    EXPECT_EQ(made.code, 0) << made.err;
    return made.code == 0 ? read_file(path("out.jsonl")) : "";
  };
  const std::string all = file("");
  EXPECT_EQ(std::count(all.begin(), all.end(), '\n'), 3);
  EXPECT_EQ(parse_json(all.substr(0, all.find('\n')), "out").at("tokens"), want);
  for (const std::string& layout : kLayouts) {
    EXPECT_EQ(tokens_of("--model run" + kGreedy + " " + layout), want) << layout;
    EXPECT_EQ(tokens_of("--model run" + kSampled + " " + layout), drawn) << layout;
    EXPECT_EQ(file(layout), all) << layout;
  }
}

TEST_F(ParallelGenerate, TheLikeliestTokensAreThoseOfOneRank) {
  train("fp64");
  const Json want = tokens_of("--model run" + kGreedy);
  EXPECT_EQ(want.size(), 24U);
  EXPECT_GT(count_distinct(want), 4U) << want;
  for (const std::string& layout : kLayouts) {
    EXPECT_EQ(tokens_of("--model run " + layout + kGreedy), want) << layout;
  }
}

TEST_F(ParallelGenerate, ASeedGivesTheSameTextUnderEveryLayout) {
  train("fp64");
  const Json want = tokens_of("--model run" + kSampled);
  EXPECT_GT(count_distinct(want), 8U) << want;
  for (const std::string& layout : kLayouts) {
    EXPECT_EQ(tokens_of("--model run " + layout + kSampled), want) << layout;
  }
}

TEST_F(ParallelGenerate, LogProbabilitiesAreThoseOfOneRank) {
  train("fp64");
  expect_same_scores("--model run", kLayouts, 1e-12);
}

TEST_F(ParallelGenerate, InSinglePrecisionTheLikeliestTokensAreTheSame) {
  train("fp32");
  const Json want = tokens_of("--model run" + kGreedy);
  for (const std::string layout : {"--tensor 2", "--pipeline 4", "--tensor 4 --pipeline 2"}) {
    EXPECT_EQ(tokens_of("--model run " + layout + kGreedy), want) << layout;
  }
}

// Written by one layout, read by others.
TEST_F(ParallelGenerate, ARunOfSeveralRanksServesAnyNumber) {
  train("fp64", " --parallel.tensor=2 --parallel.pipeline=2 --model.pattern='*-*-*-|*-'");
  const Json want = tokens_of("--model run" + kGreedy);
  for (const std::string layout : {"--pipeline 2", "--tensor 4", "--tensor 2 --pipeline 4"}) {
    EXPECT_EQ(tokens_of("--model run " + layout + kGreedy), want) << layout;
  }
}

TEST_F(ParallelGenerate, HuggingFaceFoldersAndWhatIsImportedFromThem) {
  ASSERT_EQ(run("checkpoint import-hf " + fixture("llama_gqa") + " imported").code, 0);
  const Json greedy = tokens_of("--model imported" + kGreedy);
  EXPECT_EQ(tokens_of("--model imported --tensor 4" + kGreedy), greedy);
  EXPECT_EQ(tokens_of("--tensor 2 --pipeline 2 --model " + fixture("llama_gqa") + kGreedy), greedy);
  expect_same_scores("--dtype fp64 --model imported", {"--tensor 4 --pipeline 2"}, 1e-12);
}

TEST_F(ParallelGenerate, TextIsPrintedAsOnOneRank) {
  train("fp64", " --tokenizer-type ByteTokenizer --model.vocab_size=257");
  const std::string words = "generate --threads 1 --model run --prompt 'ab c' --max-tokens 20 --seed 4 ";
  const Ran want = run(words);
  ASSERT_EQ(want.code, 0) << want.err;
  EXPECT_EQ(run(words + "--tensor 2 --pipeline 2").out, want.out);
  const Ran full = run(words + "--tensor 2 --pipeline 2", "sh -c '\"$0\" \"$@\" > /dev/full'");
  EXPECT_EQ(full.code, 4) << full.err;
  EXPECT_THAT(full.err, HasSubstr("error: stdout: got write failed: No space left on device"));
}

TEST_F(ParallelGenerate, LayoutsThatDoNotFitAreOneMessageBeforeAnythingLoads) {
  const std::string model = copy_fixture("llama_gqa", folder_.path());
  write_text(path("in.jsonl"), "{\"tokens\": [1, 2]}\n");
  for (const std::string verb :
       {"generate --threads 1 --prompt-tokens 1", "score --threads 1 --input in.jsonl --output out.jsonl"}) {
    const Ran ran = run(verb + " --model llama_gqa --tensor 3 --pipeline 5");
    EXPECT_EQ(ran.code, 3) << ran.err;
    EXPECT_THAT(ran.err,
                AllOf(HasSubstr("error: --tensor 3 --pipeline 5: got heads = 4 is no multiple of tp = 3; "),
                      HasSubstr("transformer layers = 2 are fewer than pp x chunks = 5"),
                      HasSubstr("Fix: change --tensor or --pipeline")));
    EXPECT_EQ(ran.out, "");
    EXPECT_FALSE(path_exists(path("out.jsonl")));
    for (const auto& [words, needle] : std::vector<std::pair<std::string, std::string>>{
             {"--tensor 2 --tensor-model-parallel-size 4", "keep one of the two flags"},
             {"--tensor two", "--tensor: got 'two'; needed an integer"},
             {"--parallel.data 2", "--parallel.data: got unknown key 'data'"}}) {
      const Ran wrong = run(verb + " --model llama_gqa " + words);
      EXPECT_EQ(wrong.code, 2) << wrong.err;
      EXPECT_THAT(wrong.err, HasSubstr(needle));
    }
  }
}

// Also where only a later rank's thread sees it.
TEST_F(ParallelGenerate, ErrorsAreThoseOfOneRank) {
  train("fp64");
  const std::string weights = path("run/checkpoints/step_8/") + [&] {
    for (const std::string& name : names_in(path("run/checkpoints/step_8"))) {
      if (name.ends_with(".safetensors")) return name;
    }
    return std::string();
  }();
  std::string bytes = read_file(weights);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  write_text(weights, bytes);
  write_text(path("in.jsonl"), "{\"tokens\": [1, 2]}\n{\"tokens\": [1, 900]}\n");
  for (const std::string verb :
       {"generate --threads 1 --prompt-tokens 1", "score --threads 1 --input in.jsonl --output -"}) {
    const Ran one = run(verb + " --model run");
    EXPECT_NE(one.code, 0);
    const Ran many = run(verb + " --model run --tensor 2 --pipeline 2");
    EXPECT_EQ(many.code, one.code);
    EXPECT_EQ(many.err, one.err);
  }
  const Ran outside = run("score --input in.jsonl --output - --tensor 2 --model " + fixture("gpt2_hub"));
  EXPECT_EQ(outside.code, 3);
  EXPECT_THAT(outside.err, AllOf(HasSubstr("in.jsonl:2: got id 900"), Not(HasSubstr("rank "))));
}

}  // namespace
}  // namespace phalanx
