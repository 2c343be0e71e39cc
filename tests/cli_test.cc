// What a newcomer gets wrong: one message with where, got, needed, fix, the right exit code, nothing left behind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/program.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;
using testing::Ran;
using testing::run_program;

struct Mistake {
  const char* name;
  std::string arguments;
  int code;
  std::vector<std::string> words;
};

const std::vector<Mistake>& mistakes() {
  static const std::vector<Mistake> list = {
      {"no_verb", "", 2, {"usage: phalanx VERB"}},
      {"wrong_verb", "trian", 2, {"'trian'", "did you mean train?"}},
      {"wrong_flag", "train --train.micro_batchsize=3", 2, {"micro_batchsize", "micro_batch_size"}},
      {"wrong_preset", "train --preset smal", 2, {"'smal'", "did you mean small?"}},
      {"unsupported_megatron_flag", "train --num-experts 8", 2, {"--num-experts"}},
      {"no_data", "train --preset tiny --train.train_iters=1", 3, {"--data-path", "--mock-data"}},
      {"no_length", "train --preset tiny --mock-data", 3, {"train_iters"}},
      {"bad_type", "train --preset tiny --mock-data --train.train_iters=many", 2, {"train_iters", "many"}},
      {"heads",
       "train --preset tiny --mock-data --train.train_iters=1 --model.num_attention_heads=7",
       3,
       {"num_attention_heads"}},
      {"too_long",
       "train --preset tiny --mock-data --train.train_iters=1 --model.seq_length=99 --model.max_position_embeddings=9",
       3,
       {"seq_length", "max_position_embeddings"}},
      {"tensor_parallel",
       "train --preset tiny --mock-data --train.train_iters=1 --parallel.tensor=3 --parallel.zero_stage=2",
       3,
       {"tp = 3", "zero_stage = 2"}},
      {"bad_pattern",
       "train --preset tiny --mock-data --train.train_iters=1 --model.num_layers=0 --model.pattern=*-?",
       3,
       {"?"}},
      {"missing_data", "train --preset tiny --train.train_iters=1 --data-path nowhere", 4, {"nowhere"}},
      {"missing_config", "train nowhere.toml", 4, {"nowhere.toml"}},
      {"missing_model", "generate --model nowhere --prompt x", 3, {"nowhere"}},
      {"no_model", "generate --prompt x", 2, {"no --model"}},
      {"negative_temperature", "generate --model x --prompt x --temperature -1", 2, {"--temperature"}},
      {"score_without_input", "score --model x", 2, {"--input"}},
      {"wrong_tokenizer",
       "data tokenize --input x --output-prefix y --tokenizer-type ByteTokeniser",
       3,
       {"ByteTokenizer"}},
      {"missing_text",
       "data tokenize --input nowhere.txt --output-prefix y --tokenizer-type ByteTokenizer",
       4,
       {"nowhere.txt"}},
      {"missing_index", "data inspect nowhere", 4, {"nowhere.idx"}},
      {"cuda",
       "train --preset tiny --mock-data --train.train_iters=1 --device cuda",
       3,
       {"--device cuda", "make gpu"}},
      {"run_folder_is_no_folder",
       "train --preset tiny --mock-data --train.train_iters=1 --run-dir .stdout/x",
       4,
       {".stdout/x"}},
  };
  return list;
}

TEST(Cli, EveryMistakeGetsOneHelpfulMessage) {
  for (const Mistake& mistake : mistakes()) {
    const TemporaryDirectory folder;
    const Ran ran = run_program(mistake.arguments, folder.path());
    EXPECT_EQ(ran.code, mistake.code) << mistake.name << ": " << ran.err;
    for (const std::string& word : mistake.words) EXPECT_THAT(ran.err, HasSubstr(word)) << mistake.name;
    EXPECT_EQ(ran.out, "") << mistake.name << ": results only on stdout";
    EXPECT_THAT(ran.err, ::testing::Not(HasSubstr("internal"))) << mistake.name;
    if (!mistake.arguments.empty()) {
      EXPECT_THAT(ran.err, HasSubstr("error: ")) << mistake.name;
    }
    EXPECT_FALSE(path_exists(folder.path() + "/runs/latest/checkpoints")) << mistake.name;
  }
}

TEST(Cli, TomlMistakesNameLineAndKey) {
  const TemporaryDirectory folder;
  write_file_atomic(folder.path() + "/syntax.toml", "[model]\nhidden_size = = 3\n");
  Ran ran = run_program("train syntax.toml", folder.path());
  EXPECT_EQ(ran.code, 3);
  EXPECT_THAT(ran.err, HasSubstr("syntax.toml:2"));
  write_file_atomic(folder.path() + "/key.toml", "[model]\nhiden_size = 3\n");
  ran = run_program("train key.toml", folder.path());
  EXPECT_EQ(ran.code, 3);
  EXPECT_THAT(ran.err, HasSubstr("key.toml:2"));
  EXPECT_THAT(ran.err, HasSubstr("hidden_size"));
}

TEST(Cli, TokensOutsideTheVocabularyAreNamed) {
  const TemporaryDirectory folder;
  const std::string make =
      "train --preset tiny --mock-data --train.train_iters=1 --model.num_layers=1 --model.seq_length=32 --run-dir run";
  ASSERT_EQ(run_program(make, folder.path()).code, 0);
  Ran ran = run_program("generate --model run --prompt-tokens 5,512 --max-tokens 2", folder.path());
  EXPECT_EQ(ran.code, 3);
  EXPECT_THAT(ran.err, HasSubstr("id 512"));
  ran = run_program("generate --model run --prompt hello", folder.path());
  EXPECT_EQ(ran.code, 3);
  EXPECT_THAT(ran.err, HasSubstr("--prompt-tokens"));
  write_file_atomic(folder.path() + "/text.txt", std::string(3000, 'x') + "\xC3\xA9");
  ASSERT_EQ(run_program("data tokenize --input text.txt --output-prefix d --tokenizer-type ByteTokenizer",
                        folder.path())
                .code,
            0);
  ran = run_program(
      "train --preset tiny --model.vocab_size=100 --data-path d_text_document --data.split=1 --train.train_iters=1 --run-dir r2",
      folder.path());
  EXPECT_EQ(ran.code, 3);
  EXPECT_THAT(ran.err, HasSubstr("d_text_document"));
}

// A script for Megatron-LM runs as it is, with Megatron's defaults.
TEST(Cli, MegatronFlagsAloneTrain) {
  const TemporaryDirectory folder;
  const Ran ran = run_program(
      "train --num-layers 2 --hidden-size 32 --num-attention-heads 4 --seq-length 16 --max-position-embeddings 16 "
      "--micro-batch-size 2 --global-batch-size 4 --train-iters 3 --lr 1e-3 --mock-data --vocab-size 100 --swiglu "
      "--group-query-attention --num-query-groups 2 --save ckpt --run-dir run --json",
      folder.path());
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("\"step\":3"));
  const std::string config = read_file(folder.path() + "/run/config.toml");
  EXPECT_THAT(config, HasSubstr("hidden_dropout = 0.1"));
  EXPECT_THAT(config, HasSubstr("num_query_groups = 2"));
  EXPECT_TRUE(path_exists(folder.path() + "/ckpt/step_3/manifest.json"));
}

TEST(Cli, HelpAndVersionGoToStdout) {
  const TemporaryDirectory folder;
  for (const std::string words : {"--help", "train --help", "score --help", "generate --help", "data --help",
                                  "bench --help", "checkpoint --help"}) {
    const Ran ran = run_program(words, folder.path());
    EXPECT_EQ(ran.code, 0) << words;
    EXPECT_THAT(ran.out, HasSubstr("example: phalanx")) << words;
    EXPECT_EQ(ran.err, "") << words;
  }
  EXPECT_THAT(run_program("--version", folder.path()).out, HasSubstr("phalanx 0."));
}

TEST(Cli, ScoreAndGenerateWork) {
  const TemporaryDirectory folder;
  const std::string make =
      "train --preset tiny --mock-data --train.train_iters=1 --model.num_layers=1 --model.seq_length=32 --run-dir run";
  ASSERT_EQ(run_program(make, folder.path()).code, 0);
  write_file_atomic(folder.path() + "/in.jsonl", "{\"tokens\": [1, 2, 3]}\n\n{\"tokens\": [4]}\n");
  Ran ran = run_program("score --model run --input in.jsonl --output out.jsonl", folder.path());
  ASSERT_EQ(ran.code, 0) << ran.err;
  const std::string out = read_file(folder.path() + "/out.jsonl");
  EXPECT_THAT(out, HasSubstr("{\"logprobs\":[-"));
  EXPECT_THAT(out, HasSubstr("{\"logprobs\":[]}"));
  ran = run_program("generate --model run --prompt-tokens 1,2 --max-tokens 5 --seed 3 --json", folder.path());
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out, run_program("generate --model run --prompt-tokens 1,2 --max-tokens 5 --seed 3 --json",
                                 folder.path())
                         .out);
  EXPECT_NE(ran.out, run_program("generate --model run --prompt-tokens 1,2 --max-tokens 5 --seed 4 --json",
                                 folder.path())
                         .out);
  write_file_atomic(folder.path() + "/bad.jsonl", "{\"tokens\": [1, 2]}\n{\"words\": 3}\n");
  ran = run_program("score --model run --input bad.jsonl --output never.jsonl", folder.path());
  EXPECT_EQ(ran.code, 3);
  EXPECT_THAT(ran.err, HasSubstr("bad.jsonl:2"));
  EXPECT_FALSE(path_exists(folder.path() + "/never.jsonl"));
}

}  // namespace
}  // namespace phalanx
