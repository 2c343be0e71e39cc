// generate and score as a process: what they refuse, with which exit code, and what they leave on stdout.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "phalanx/checkpoint/test_folders.h"
#include "tests/program.h"

namespace phalanx {
namespace {

using ::testing::AllOf;
using testing::copy_fixture;
using testing::edit_json;
using testing::fixture;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::Ran;
using testing::run_program;
using testing::write_text;

const std::string kTrain =
    "train --preset tiny --mock-data --train.train_iters=1 --model.num_layers=1 --model.seq_length=32 --run-dir run ";
const std::string kManifest = "/run/checkpoints/step_1/manifest.json";
// stdout is a full disk, whatever run_program does with it.
const std::string kFullStdout = "sh -c '\"$0\" \"$@\" > /dev/full'";

class Generate : public ::testing::Test {
 protected:
  std::string path(const std::string& name) const { return folder_.path() + "/" + name; }
  Ran run(const std::string& arguments, const std::string& prefix = "") const {
    return run_program(arguments, folder_.path(), prefix);
  }
  Ran score_line(const std::string& model, const std::string& text) const {
    write_text(path("in.jsonl"), text + "\n");
    return run("score --input in.jsonl --output - --model " + model);
  }
  void train(const std::string& more = "") const {
    const Ran ran = run(kTrain + more);
    ASSERT_EQ(ran.code, 0) << ran.err;
  }
  Json tokens_of(const std::string& arguments) const {
    const Ran ran = run(arguments + " --json");
    EXPECT_EQ(ran.code, 0) << ran.err;
    return ran.code == 0 ? parse_json(ran.out, "stdout").at("tokens") : Json::array();
  }

  TemporaryDirectory folder_;
};

// Every value of one tensor of a safetensors file.
void fill_tensor(const std::string& file, const std::string& name, float value) {
  std::string bytes = read_file(file);
  uint64_t header_size = 0;
  std::memcpy(&header_size, bytes.data(), sizeof(header_size));
  const Json header = parse_json(bytes.substr(8, header_size), file);
  const auto range = header.at(name).at("data_offsets").get<std::vector<size_t>>();
  for (size_t at = range[0]; at < range[1]; at += sizeof(value))
    std::memcpy(&bytes[8 + header_size + at], &value, sizeof(value));
  write_text(file, bytes);
}

TEST_F(Generate, SettingsThatThisVersionDoesNotKnowLeaveOldCheckpointsUsable) {
  train("--tokenizer-type ByteTokenizer");
  const std::string words = "generate --model run --prompt ab --max-tokens 3 --temperature 0";
  const Ran before = run(words);
  ASSERT_EQ(before.code, 0) << before.err;
  edit_json(path(kManifest), [](Json& manifest) {
    Json& config = manifest["metadata"]["config"];
    config["optim"]["gone"] = 3;
    config["data"]["gone"] = {1, 2};
    config["train"]["dtype"] = "renamed";
    config["other_section"] = {{"x", 1}};
  });
  const Ran after = run(words);
  EXPECT_EQ(after.code, 0) << after.err;
  EXPECT_EQ(after.out, before.out);
  EXPECT_EQ(score_line("run", R"({"text": "abc"})").code, 0);
}

TEST_F(Generate, UnknownModelSettingsAreNamed) {
  train();
  edit_json(path(kManifest), [](Json& m) { m["metadata"]["config"]["model"]["num_experts"] = 8; });
  for (const Ran& ran :
       {run("generate --model run --prompt-tokens 1"), score_line("run", "{\"tokens\": [1, 2]}")}) {
    EXPECT_EQ(ran.code, 3);
    EXPECT_THAT(ran.err, AllOf(HasSubstr("manifest.json"), HasSubstr("model.num_experts: got 8"),
                               HasSubstr("may come from another version")));
    EXPECT_EQ(ran.out, "");
  }
}

TEST_F(Generate, UnknownTokenizerSettingsLeaveTokenIds) {
  train("--tokenizer-type ByteTokenizer");
  edit_json(path(kManifest), [](Json& m) { m["metadata"]["config"]["data"]["tokenizer_new"] = "x"; });
  const Ran ran = run("generate --model run --prompt a");
  EXPECT_EQ(ran.code, 3);
  EXPECT_THAT(ran.err, HasSubstr("data.tokenizer_new"));
  EXPECT_EQ(run("generate --model run --prompt-tokens 1 --max-tokens 2").code, 0);
}

TEST_F(Generate, NotANumberEndsWithExitCode6AndItsPosition) {
  const std::string model = copy_fixture("gpt2", folder_.path());
  fill_tensor(model + "/model.safetensors", "transformer.ln_f.bias", std::nanf(""));
  for (const std::string sampling : {"--temperature 0", "--temperature 1", "--temperature 1 --top-k 5"}) {
    const Ran ran = run("generate --model gpt2 --prompt-tokens 1,2,3 --json " + sampling);
    EXPECT_EQ(ran.code, 6) << ran.err;
    EXPECT_THAT(ran.err,
                AllOf(HasSubstr("position 3: got a logit that is NaN"), HasSubstr("checkpoint verify")));
    EXPECT_EQ(ran.out, "");
  }
  const Ran scored = score_line("gpt2", "{\"tokens\": [1]}\n{\"tokens\": [1, 2, 3]}");
  EXPECT_EQ(scored.code, 6) << scored.err;
  EXPECT_THAT(scored.err, HasSubstr("in.jsonl:2, position 1: got a log probability that is NaN"));
  EXPECT_EQ(scored.out, "");
}

TEST_F(Generate, IdsBeyondTheTokenizerAreNeverSampled) {
  train("--tokenizer-type ByteTokenizer --model.vocab_size=4000");
  const std::string words = "generate --model run --prompt a --max-tokens 31 --temperature 9 --seed ";
  size_t made = 0;
  for (const std::string seed : {"1", "2"}) {
    const Ran ran = run(words + seed);
    EXPECT_EQ(ran.code, 0) << ran.err;
    for (const Json& token : tokens_of(words + seed)) {
      EXPECT_LT(token.get<int64_t>(), 257);
      ++made;
    }
  }
  EXPECT_GT(made, 10U);
}

TEST_F(Generate, BytesThatAreNoTextBecomeReplacementCharactersInJson) {
  train("--tokenizer-type ByteTokenizer --model.vocab_size=257");
  const Ran ran = run("generate --model run --prompt a --max-tokens 30 --temperature 9 --seed 1 --json");
  ASSERT_EQ(ran.code, 0) << ran.err;
  const Json json = parse_json(ran.out, "stdout");
  EXPECT_GT(json.at("tokens").size(), 10U);
  EXPECT_THAT(json.at("text").get<std::string>(), HasSubstr("\xEF\xBF\xBD"));
}

TEST_F(Generate, ScoreTakesWholeNumbersOnly) {
  for (const std::string token :
       {"1.7", "1.0", "9223372036854775808", "18446744073709551615", "true", "\"2\"", "null"}) {
    const Ran ran = score_line(fixture("gpt2_hub"), "{\"tokens\": [1, 2]}\n{\"tokens\": [1, " + token + "]}");
    EXPECT_EQ(ran.code, 3) << token;
    EXPECT_THAT(ran.err, AllOf(HasSubstr("in.jsonl:2: tokens: got "), HasSubstr("whole numbers"))) << token;
    EXPECT_EQ(ran.out, "");
  }
  EXPECT_THAT(score_line(fixture("gpt2_hub"), "{\"tokens\": 3}").err,
              HasSubstr("in.jsonl:1: tokens: got 3;"));
  const Ran outside = score_line(fixture("gpt2_hub"), "\n{\"tokens\": [1, -2]}");
  EXPECT_EQ(outside.code, 3);
  EXPECT_THAT(outside.err, HasSubstr("in.jsonl:2: got id -2"));
}

TEST_F(Generate, ExhaustedMemoryIsOneMessage) {
  // A table of a terabyte fits no machine that runs this.
  const Ran ran =
      run("train --preset tiny --mock-data --train.train_iters=1 --model.vocab_size=2000000000 --run-dir big",
          "ulimit -v 60000000;");
  EXPECT_EQ(ran.code, 4) << ran.err;
  EXPECT_THAT(ran.err, AllOf(HasSubstr("error: memory: got none"), Not(HasSubstr("internal")),
                             Not(HasSubstr("frame #")), Not(HasSubstr("alloc_cpu"))));
}

TEST_F(Generate, AFullDiskBehindStdoutIsAnError) {
  train("--tokenizer-type ByteTokenizer");
  write_text(path("in.jsonl"), "{\"tokens\": [1, 2]}\n");
  for (const std::string words : {"generate --model run --prompt a --max-tokens 3",
                                  "generate --model run --prompt a --max-tokens 3 --json",
                                  "generate --model run --prompt-tokens 1 --max-tokens 3",
                                  "score --model run --input in.jsonl --output -", "--version",
                                  "checkpoint inspect run", "generate --help"}) {
    const Ran ran = run(words, kFullStdout);
    EXPECT_EQ(ran.code, 4) << words << ": " << ran.err;
    EXPECT_THAT(ran.err, HasSubstr("error: stdout: got write failed: No space left on device")) << words;
  }
}

TEST_F(Generate, EndTokensComeWithHuggingFaceFolders) {
  const std::string model = copy_fixture("gpt2_hub", folder_.path());  // no tokenizer
  const auto set_eos = [&](const Json& eos) {
    edit_json(model + "/config.json", [&eos](Json& config) { config["eos_token_id"] = eos; });
  };
  const std::string words = " --prompt-tokens 5,9 --max-tokens 20 --seed 3 --temperature 1";
  set_eos(nullptr);
  const Json all = tokens_of("generate --model gpt2_hub" + words);
  ASSERT_EQ(all.size(), 20U);
  const Json third = all[2];
  const auto first_of = [&all](const Json& token) {
    return static_cast<size_t>(std::find(all.begin(), all.end(), token) - all.begin()) + 1;
  };
  for (const Json& eos : {third, Json::array({all[7], third})}) {
    set_eos(eos);
    const size_t expected = eos.is_array() ? std::min(first_of(all[7]), first_of(third)) : first_of(third);
    EXPECT_EQ(tokens_of("generate --model gpt2_hub" + words).size(), expected);
    ASSERT_EQ(run("checkpoint import-hf gpt2_hub imported --force").code, 0);
    EXPECT_EQ(tokens_of("generate --model imported" + words).size(), expected);
  }
  for (const Json& eos : {Json(-1), Json(128), Json("x"), Json::array({true, nullptr})}) {
    set_eos(eos);
    EXPECT_EQ(tokens_of("generate --model gpt2_hub" + words).size(), 20U) << eos;
  }
  // Generation settings come first.
  write_text(model + "/generation_config.json", Json({{"eos_token_id", third}}).dump());
  EXPECT_EQ(tokens_of("generate --model gpt2_hub" + words).size(), first_of(third));
}

TEST_F(Generate, TheTokenizersEndTokenComesBeforeHuggingFaceSettings) {
  const std::string model = copy_fixture("gpt2", folder_.path());
  write_text(model + "/tokenizer.json", read_file(PHALANX_SOURCE_DIR "/tests/fixtures/bpe/tokenizer.json"));
  const std::string words = "generate --model gpt2 --prompt-tokens 5,9 --max-tokens 20 --seed 3";
  ASSERT_THAT(run(words + " --json").out, HasSubstr("\"text\"")) << "else there is no tokenizer";
  const Json all = tokens_of(words);
  ASSERT_EQ(all.size(), 20U);
  for (const std::string file : {"/config.json", "/generation_config.json"})
    edit_json(model + file, [&all](Json& json) { json["eos_token_id"] = all[2]; });
  EXPECT_EQ(tokens_of(words), all);
}

TEST_F(Generate, RotaryPositionsBeyondTheModelsGiveOneWarning) {
  const std::string model = copy_fixture("llama_gqa", folder_.path());
  edit_json(model + "/config.json", [](Json& config) { config["max_position_embeddings"] = 8; });
  const std::string words = "generate --model llama_gqa --json --seed 1 --prompt-tokens 5,6,7 --max-tokens ";
  const std::string warning = "longer than the 8 positions";
  const auto count = [&warning](const std::string& text) {
    size_t n = 0;
    for (size_t at = text.find(warning); at != std::string::npos; at = text.find(warning, at + 1)) ++n;
    return n;
  };
  edit_json(model + "/config.json", [](Json& config) { config["eos_token_id"] = nullptr; });
  std::filesystem::remove(model + "/generation_config.json");
  EXPECT_EQ(count(run(words + "6").err), 0U) << "the model sees 8 tokens";
  EXPECT_EQ(count(run(words + "12").err), 1U);
  EXPECT_EQ(count(score_line("llama_gqa", "{\"tokens\": [1,2,3,4,5,6,7,8]}").err), 0U);
  const std::string nine = "{\"tokens\": [1,2,3,4,5,6,7,8,9]}";
  EXPECT_EQ(count(score_line("llama_gqa", nine + "\n" + nine).err), 1U);
}

TEST_F(Generate, MistakesAreSeenBeforeAnythingIsWritten) {
  train("--tokenizer-type ByteTokenizer");
  struct Mistake {
    std::string words;
    int code;
    std::string needle;
  };
  for (const Mistake& mistake : std::vector<Mistake>{
           {"--model nowhere --prompt x --prompt-tokens 1", 2,
            "more than one of --prompt, --prompt-tokens and --input"},
           {"--model nowhere --prompt x --max-tokens -1", 2, "--max-tokens: got -1"},
           {"--model run --prompt " + std::string(33, 'x'), 3, "--prompt: got 33 tokens; needed at most 32"},
           {"--model run --prompt ''", 3, "--prompt"},
           {"--model run --prompt-tokens 1,900", 3, "--prompt-tokens: got id 900"}}) {
    const Ran ran = run("generate " + mistake.words);
    EXPECT_EQ(ran.code, mistake.code) << mistake.words;
    EXPECT_THAT(ran.err, HasSubstr(mistake.needle)) << mistake.words;
    EXPECT_EQ(ran.out, "") << mistake.words;
  }
}

TEST_F(Generate, ShortHelpIsHelp) {
  for (const std::string words :
       {"", "generate", "generate --model x --prompt y", "score", "checkpoint", "checkpoint import-hf",
        "checkpoint export-hf", "checkpoint inspect", "checkpoint verify", "checkpoint inspect x", "train",
        "data", "data tokenize", "bench"}) {
    const Ran ran = run(words + " -h");
    EXPECT_EQ(ran.code, 0) << words << ": " << ran.err;
    EXPECT_THAT(ran.out, HasSubstr("example: phalanx")) << words;
  }
}

// A limit on file size must not kill with a signal, whatever the shell set up.
TEST_F(Generate, AFileSizeLimitIsAnErrorAndNotASignal) {
  train();
  const Ran ran = run(
      "train --preset tiny --mock-data --train.train_iters=2 --model.num_layers=1 --model.seq_length=32 --run-dir run",
      "ulimit -f 1000;");
  EXPECT_EQ(ran.code, 4) << ran.err;
  EXPECT_THAT(ran.err, HasSubstr("step_2"));
  EXPECT_TRUE(path_exists(path(kManifest)));
}

}  // namespace
}  // namespace phalanx
