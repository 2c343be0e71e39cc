// `phalanx checkpoint ...` as a process: exit codes, what goes to stdout and stderr, JSON.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>

#include "phalanx/checkpoint/hf_folder.h"
#include "phalanx/checkpoint/test_folders.h"

namespace phalanx {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::fixture;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct Outcome {
  int code = -1;
  std::string out;
  std::string err;
  Json json() const { return parse_json(out, "stdout"); }
};

class CheckpointVerb : public ::testing::Test {
 protected:
  std::string path(const std::string& name) const { return directory_.path() + "/" + name; }

  Outcome run(const std::string& words) const {
    const std::string command = std::string(PHALANX_BINARY) + " checkpoint " + words + " >" +
                                path("out.txt") + " 2>" + path("err.txt");
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_file(path("out.txt")),
            read_file(path("err.txt"))};
  }

  TemporaryDirectory directory_;
};

TEST_F(CheckpointVerb, AFolderGoesInAndOutAgain) {
  const Outcome in = run("import-hf " + fixture("gpt2") + " " + path("in"));
  EXPECT_EQ(in.code, 0) << in.err;
  EXPECT_THAT(in.out, HasSubstr("gpt2 with 31.6k parameters in float32 (126 kB), 2 tokenizer files"));

  const Outcome inspected = run("inspect --json " + path("in"));
  EXPECT_EQ(inspected.json()["parameters"], 31616);
  EXPECT_EQ(inspected.json()["metadata"]["kind"], "import");
  const Outcome verified = run("verify " + path("in") + " --json");
  EXPECT_EQ(verified.code, 0);
  EXPECT_EQ(verified.json()["ok"], true);
  EXPECT_THAT(verified.err, IsEmpty());  // no progress line into a pipe

  const Outcome out =
      run("export-hf " + path("in") + " " + path("hf") + " --json --max-shard-size 30KB --eos-token-id 5");
  EXPECT_EQ(out.code, 0) << out.err;
  EXPECT_EQ(out.json()["family"], "gpt2");
  EXPECT_GT(out.json()["weight_files"].size(), 2U);
  EXPECT_EQ(out.json()["tokenizer_files"], 2);
  EXPECT_EQ(read_file(path("hf/tokenizer.json")), read_file(fixture("gpt2/tokenizer.json")));
  EXPECT_EQ(read_json_file(path("hf/config.json"))["eos_token_id"], 5);
  EXPECT_EQ(read_json_file(path("hf/generation_config.json"))["eos_token_id"], 5);
  EXPECT_EQ(HfFolder(path("hf")).config(), HfFolder(fixture("gpt2")).config());

  EXPECT_EQ(run("export-hf " + path("in") + " " + path("hf")).code, 2);
  EXPECT_EQ(run("export-hf " + path("in") + " " + path("hf") + " --force --dtype bf16").code, 0);
  EXPECT_EQ(HfFolder(path("hf")).dtype(), at::kBFloat16);
}

// The family, token ids and tokenizer of a run that was started from an import.
TEST_F(CheckpointVerb, ARunExportsWithWhatItsFirstFolderBrought) {
  ASSERT_EQ(run("import-hf " + fixture("mistral") + " " + path("in")).code, 0);
  make_directories(path("in/tokenizer"));
  testing::write_text(path("in/tokenizer/tokenizer.model"), "pieces");
  CheckpointReader reader(path("in"));
  Json metadata = {{"kind", "train"}, {"step", 9}, {"config", reader.metadata()["config"]}};
  metadata["config"]["checkpoint"] = {{"load", path("in")}};
  std::vector<LazyBox> boxes;
  for (const StoredTensor& tensor : reader.manifest().tensors) {
    boxes.push_back({tensor.name, tensor.shape, Box::whole(tensor.shape), scalar_type_of(tensor.dtype),
                     [&reader, &tensor] { return reader.read_whole(tensor.name, tensor.shape); }});
  }
  write_lazy_checkpoint(path("run/checkpoints/step_9"), boxes, metadata, {}, {});

  EXPECT_EQ(run("inspect --json " + path("run")).json()["step"], 9);
  EXPECT_EQ(run("inspect --step 8 " + path("run")).code, 3);
  const Outcome out = run("export-hf --step=9 " + path("run") + " " + path("hf"));
  EXPECT_EQ(out.code, 0) << out.err;
  EXPECT_EQ(HfFolder(path("hf")).family(), HfFamily::kMistral);
  EXPECT_EQ(HfFolder(path("hf")).token_ids(), HfFolder(fixture("mistral")).token_ids());
  EXPECT_EQ(read_file(path("hf/tokenizer.model")), "pieces");

  metadata["config"]["checkpoint"]["load"] = path("gone");
  write_lazy_checkpoint(path("run/checkpoints/step_10"), boxes, metadata, {}, {});
  const Outcome orphan =
      run("export-hf " + path("run") + " " + path("orphan") + " --tokenizer " + path("in/tokenizer"));
  EXPECT_EQ(orphan.code, 0);
  EXPECT_THAT(orphan.err, HasSubstr("cannot be read, so no tokenizer travels along"));
  EXPECT_THAT(names_in(path("orphan")), ElementsAre("config.json", "model.safetensors", "tokenizer.model"));
}

TEST_F(CheckpointVerb, VerifyTellsDamageFromBadNumbersByItsExitCode) {
  write_checkpoint(path("bad"), {testing::whole("w", at::tensor({1.0, std::nan("")}))}, {});
  const Outcome bad = run("verify " + path("bad"));
  EXPECT_EQ(bad.code, 6);
  EXPECT_THAT(bad.out,
              AllOf(HasSubstr("but not all values are finite"), HasSubstr("  w: 1 NaN, 0 infinite")));
  EXPECT_EQ(run("verify --json " + path("bad")).json()["non_finite"][0]["nan"], 1);

  std::filesystem::resize_file(path("bad/rank_00000.safetensors"), 10);
  const Outcome damaged = run("verify " + path("bad"));
  EXPECT_EQ(damaged.code, 3);
  EXPECT_THAT(damaged.out, IsEmpty());
  EXPECT_THAT(damaged.err, HasSubstr("rank_00000.safetensors: got 10 bytes"));
}

TEST_F(CheckpointVerb, SlowMistakesEndWithTheRightCodeAndWords) {
  struct Case {
    std::string words;
    int code;
    std::string message;
  };
  const std::string gpt2 = fixture("gpt2");
  ASSERT_EQ(run("import-hf " + gpt2 + " " + path("in")).code, 0);
  const std::vector<Case> cases = {
      {"", 2, "got no word after it"},
      {"importhf a b", 2, "got 'importhf'"},
      {"reshard " + path("in") + " " + path("x"), 2, "a word that comes with parallel layouts"},
      {"import-hf " + gpt2, 2, "got no OUT_DIR; needed HF_DIR OUT_DIR"},
      {"inspect " + gpt2 + " more", 2, "got 'more' after the paths"},
      {"inspect --jsn " + gpt2, 2, "--jsn: got an unknown flag"},
      {"inspect " + path("none"), 3, "got no such file or folder"},
      {"inspect " + directory_.path(), 3, "got no complete checkpoint"},
      {"import-hf " + path("none") + " " + path("x"), 3, "got no such folder"},
      {"import-hf " + gpt2 + " " + path("x") + " --dtype int8", 2, "--dtype: got 'int8'"},
      {"import-hf " + gpt2 + " " + path("out.txt") + "/x", 4, "create folder failed: Not a directory"},
      {"export-hf " + path("in") + " " + path("x") + " --family bert", 2, "--family: got 'bert'"},
      {"export-hf " + path("in") + " " + path("x") + " --family llama", 3, "export as llama"},
      {"export-hf " + path("in") + " " + path("x") + " --step two", 2, "--step: got 'two'"},
      {"export-hf " + path("in") + " " + path("x") + " --max-shard-size 0", 2, "--max-shard-size: got '0'"},
      {"export-hf " + path("in") + " " + path("x") + " --tokenizer " + path("none"), 3,
       "got no tokenizer file in it"},
  };
  for (const Case& one : cases) {
    const Outcome outcome = run(one.words);
    EXPECT_EQ(outcome.code, one.code) << one.words;
    EXPECT_THAT(outcome.err, HasSubstr(one.message)) << one.words;
    EXPECT_THAT(outcome.out, IsEmpty()) << one.words;
  }
  EXPECT_FALSE(path_exists(path("x")));
}

TEST_F(CheckpointVerb, SlowEveryWordHelpsWithAnExample) {
  for (const char* words :
       {"--help", "import-hf --help", "export-hf --help", "inspect --help", "verify --help"}) {
    const Outcome outcome = run(words);
    EXPECT_EQ(outcome.code, 0);
    EXPECT_THAT(outcome.out,
                AllOf(HasSubstr("usage: phalanx checkpoint"), HasSubstr("\nexample: phalanx checkpoint ")))
        << words;
  }
}

}  // namespace
}  // namespace phalanx
