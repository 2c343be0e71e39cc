// Import and export as folders: what travels, what is refused. tests/hf_parity_test.cc checks what the models compute.
#include "phalanx/checkpoint/hf_export.h"

#include <ATen/ATen.h>
#include <signal.h>
#include <sys/resource.h>

#include "phalanx/checkpoint/hf_folder.h"
#include "phalanx/checkpoint/hf_import.h"
#include "phalanx/checkpoint/model_state.h"
#include "phalanx/checkpoint/test_folders.h"
#include "phalanx/checkpoint/tokenizer_files.h"
#include "phalanx/config/config_toml.h"

namespace phalanx {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using testing::error_of;
using testing::fixture;
using testing::folder_bytes;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Key;
using testing::same_bits;
using testing::TestModel;
using testing::tiny_llama;

class HfExportTest : public ::testing::Test {
 protected:
  std::string path(const std::string& name) const { return directory_.path() + "/" + name; }
  TemporaryDirectory directory_;
};

TEST_F(HfExportTest, AnImportIsACheckpointThatTrainingCanLoad) {
  const HfFolder folder(fixture("gpt2"));
  uint64_t last = 0;
  const HfImportReport report =
      import_hf(folder, path("in"), {.progress = [&](uint64_t done) { last = done; }});
  EXPECT_EQ(report.dtype, at::kFloat);
  EXPECT_EQ(report.num_parameters, folder.table().num_parameters());
  EXPECT_EQ(last, report.bytes);
  EXPECT_THAT(names_in(path("in")),
              ElementsAre("config.toml", "manifest.json", "rank_00000.safetensors", "tokenizer"));
  EXPECT_EQ(read_file(path("in/tokenizer/tokenizer.json")), read_file(fixture("gpt2/tokenizer.json")));

  CheckpointReader reader(path("in"));
  EXPECT_EQ(reader.metadata()["kind"], "import");
  EXPECT_EQ(reader.metadata()["step"], 0);
  EXPECT_EQ(reader.metadata()["hf"]["family"], "gpt2");
  EXPECT_EQ(reader.metadata()["hf"]["token_ids"], folder.token_ids());
  EXPECT_EQ(stored_model_config(reader), folder.config());
  TestModel ours(folder.config());
  load_weights(reader, ours.model);
  TestModel theirs(folder.config(), at::kFloat, 7);
  load_hf_weights(folder, theirs.model);
  for (size_t i = 0; i < ours.model.parameters().size(); ++i) {
    EXPECT_TRUE(same_bits(ours.model.parameters()[i]->data, theirs.model.parameters()[i]->data));
  }

  ModelConfig config;
  ConfigTree tree;
  tree.add_section("model", config);
  apply_toml_file(tree, path("in/config.toml"), Origin::kFile);
  finalize(config);
  EXPECT_EQ(config, folder.config());
}

TEST_F(HfExportTest, TokenizerFilesAreKnownByNameAndLeaveTheRestBehind) {
  for (const char* name : {"tokenizer.json", "vocab.json", "merges.txt", "tokenizer.model",
                           "chat_template.jinja", "README.md", "model.safetensors"}) {
    testing::write_text(path(name), name);
  }
  make_directories(path("added_tokens.json"));  // a folder of that name is none
  std::vector<std::string> names;
  for (const ExtraFile& file : tokenizer_files(directory_.path(), "tokenizer/")) {
    EXPECT_EQ("tokenizer/" + file.bytes, file.name);
    names.push_back(file.bytes);
  }
  EXPECT_THAT(names, ElementsAre("chat_template.jinja", "merges.txt", "tokenizer.json", "tokenizer.model",
                                 "vocab.json"));
  EXPECT_THAT(tokenizer_files(path("none"), ""), IsEmpty());
}

TEST_F(HfExportTest, ConfigDtypesTokenIdsAndExtraFilesAreWritten) {
  TestModel holder(tiny_llama());
  const HfExportReport report =
      export_hf(tiny_llama(), weights_of(holder.model), path("out"),
                {.dtype = at::kBFloat16,
                 .token_ids = {{"bos_token_id", 1}, {"eos_token_id", Json::array({2, 3})}},
                 .generation_config = {{"temperature", 0.5}},
                 .tokenizer_files = {{"tokenizer.json", "{}"}}});
  EXPECT_EQ(report.family, HfFamily::kLlama);
  EXPECT_THAT(report.weight_files, ElementsAre("model.safetensors"));
  EXPECT_THAT(names_in(path("out")),
              ElementsAre("config.json", "generation_config.json", "model.safetensors", "tokenizer.json"));
  const Json config = read_json_file(path("out/config.json"));
  EXPECT_EQ(config["architectures"], Json::array({"LlamaForCausalLM"}));
  EXPECT_EQ(config["dtype"], "bfloat16");
  EXPECT_EQ(config["torch_dtype"], "bfloat16");
  EXPECT_EQ(config["eos_token_id"], Json::array({2, 3}));
  EXPECT_EQ(config["pad_token_id"], nullptr);
  const SafetensorsFile file(path("out/model.safetensors"));
  EXPECT_THAT(file.header().metadata, ElementsAre(std::pair<std::string, std::string>("format", "pt")));
  EXPECT_EQ(file.at("model.embed_tokens.weight").dtype, FileDtype::kBF16);
  EXPECT_EQ(file.at("model.embed_tokens.weight").shape, (Shape{10, 8}));  // padding rows stay at home
  ModelConfig expected = tiny_llama();
  expected.make_vocab_size_divisible_by =
      ModelConfig().make_vocab_size_divisible_by;  // config.json cannot say it
  EXPECT_EQ(HfFolder(path("out")).config(), expected);
}

TEST_F(HfExportTest, ShardsKeepToTheirSizeAndReadBackAlike) {
  TestModel holder(tiny_llama());
  const WeightSource weights = weights_of(holder.model);
  const HfExportReport one = export_hf(tiny_llama(), weights, path("one"), {});
  const HfExportReport many = export_hf(tiny_llama(), weights, path("many"), {.max_shard_bytes = 400});
  EXPECT_EQ(one.bytes, many.bytes);
  ASSERT_GT(many.weight_files.size(), 2U);
  const std::string last = fmt::format("model-{0:05}-of-{0:05}.safetensors", many.weight_files.size());
  EXPECT_EQ(many.weight_files.back(), last);
  uint64_t sum = 0;
  for (const std::string& name : many.weight_files) {
    const SafetensorsFile file(path("many/" + name));
    uint64_t bytes = 0;
    for (const SafetensorsEntry& entry : file.header().entries) bytes += entry.end - entry.begin;
    EXPECT_TRUE(bytes <= 400 || file.header().entries.size() == 1) << name << " holds " << bytes;
    sum += bytes;
  }
  const Json index = read_json_file(path("many/model.safetensors.index.json"));
  EXPECT_EQ(index["metadata"]["total_size"], sum);
  EXPECT_EQ(index["weight_map"]["lm_head.weight"], last);
  const HfFolder a(path("one"));
  const HfFolder b(path("many"));
  for (const LogicalTensor* tensor : a.table().logical_tensors()) {
    EXPECT_TRUE(same_bits(a.tensor(tensor->name), b.tensor(tensor->name))) << tensor->name;
  }
}

TEST_F(HfExportTest, AWiderDtypeTakesTheMasters) {
  const Tensor weight = at::full({2, 2}, 1.0, at::kBFloat16);
  const Tensor master = at::full({2, 2}, 1.001);
  write_checkpoint(path("run"),
                   {testing::whole("model.w", weight), testing::whole("optimizer.master.w", master)}, {});
  CheckpointReader reader(path("run"));
  const LogicalTensor tensor{.name = "w", .shape = {2, 2}};
  EXPECT_TRUE(same_bits(weights_of(reader, at::kFloat)(tensor), master));
  EXPECT_TRUE(same_bits(weights_of(reader, at::kBFloat16)(tensor), weight));
  const LogicalTensor absent{.name = "v", .shape = {2, 2}};
  EXPECT_THAT(error_of([&] { weights_of(reader, at::kFloat)(absent); }).what(),
              HasSubstr("no tensor 'model.v'"));
}

TEST_F(HfExportTest, AFamilyThatCannotExpressTheModelIsRefusedBeforeAnythingIsWritten) {
  TestModel holder(tiny_llama());
  const Error error = error_of(
      [&] { export_hf(tiny_llama(), weights_of(holder.model), path("out"), {.family = HfFamily::kGpt2}); });
  EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
  EXPECT_THAT(error.what(), HasSubstr("export as gpt2"));
  EXPECT_THAT(names_in(directory_.path()), IsEmpty());
}

TEST_F(HfExportTest, AFailedExportLeavesWhatWasThereAndNothingElse) {
  TestModel holder(tiny_llama());
  export_hf(tiny_llama(), weights_of(holder.model), path("out"), {});
  const auto before = folder_bytes(directory_.path());
  const WeightSource broken = [&](const LogicalTensor& tensor) -> Tensor {
    if (tensor.name == "final_norm.weight")
      throw Error(ErrorKind::kIo, {.where = "disk", .got = "a failure"});
    return weights_of(holder.model)(tensor);
  };
  EXPECT_EQ(error_of([&] { export_hf(tiny_llama(), broken, path("out"), {.overwrite = true}); }).kind(),
            ErrorKind::kIo);
  EXPECT_EQ(error_of([&] { export_hf(tiny_llama(), broken, path("new"), {}); }).kind(), ErrorKind::kIo);
  holder.model.find("head.weight")->data.fill_(1e6);
  EXPECT_THAT(error_of([&] {
                export_hf(tiny_llama(), weights_of(holder.model), path("new"), {.dtype = at::kHalf});
              }).what(),
              HasSubstr("tensor 'lm_head.weight': got 80 values too large for float16"));
  EXPECT_EQ(folder_bytes(directory_.path()), before);
  EXPECT_THAT(names_in(directory_.path()), ElementsAre("out"));
}

TEST_F(HfExportTest, AFolderWithFilesIsReplacedOnlyWhenAskedAndOnlyWhenItIsAnExport) {
  TestModel holder(tiny_llama());
  const WeightSource weights = weights_of(holder.model);
  export_hf(tiny_llama(), weights, path("out"), {.max_shard_bytes = 400});
  const Error error = error_of([&] { export_hf(tiny_llama(), weights, path("out"), {}); });
  EXPECT_EQ(error.kind(), ErrorKind::kUsage);
  EXPECT_THAT(error.what(), AllOf(HasSubstr("got a folder with files in it"), HasSubstr("add --force")));
  export_hf(tiny_llama(), weights, path("out"), {.overwrite = true});
  EXPECT_THAT(names_in(path("out")),
              ElementsAre("config.json", "model.safetensors"));  // no old shard is left
  testing::write_text(path("out/README.md"), "mine");
  EXPECT_THAT(error_of([&] { export_hf(tiny_llama(), weights, path("out"), {.overwrite = true}); }).what(),
              HasSubstr("got 'README.md' in it"));
  EXPECT_EQ(read_file(path("out/README.md")), "mine");
  EXPECT_THAT(
      error_of([&] { import_hf(HfFolder(fixture("gpt2")), path("out"), {.overwrite = true}); }).what(),
      HasSubstr("which this command does not write"));
}

TEST_F(HfExportTest, AnImportInANarrowDtypeChecksTheRange) {
  const std::string folder = path("gpt2");
  TestModel holder(tiny_llama());
  holder.model.find("final_norm.weight")->data.fill_(1e5);
  export_hf(tiny_llama(), weights_of(holder.model), folder, {});
  const Error error = error_of([&] { import_hf(HfFolder(folder), path("in"), {.dtype = at::kHalf}); });
  EXPECT_THAT(error.what(),
              HasSubstr("tensor 'model.final_norm.weight': got 8 values too large for float16"));
  EXPECT_FALSE(path_exists(path("in")));
  import_hf(HfFolder(folder), path("in"), {.dtype = at::kBFloat16});
  EXPECT_EQ(stored_weight_dtype(CheckpointReader(path("in"))), at::kBFloat16);
}

TEST(ByteSize, UnitsOfBothKinds) {
  EXPECT_EQ(parse_byte_size("1000", "--max-shard-size"), 1000U);
  EXPECT_EQ(parse_byte_size("5GB", "--max-shard-size"), 5'000'000'000U);
  EXPECT_EQ(parse_byte_size("1.5 MB", "--max-shard-size"), 1'500'000U);
  EXPECT_EQ(parse_byte_size("2GiB", "--max-shard-size"), 2U << 30);
  for (const char* text : {"", "GB", "-5GB", "0", "5 GBB", "nan", "1e30", "5gb"}) {
    const Error error = error_of([&] { parse_byte_size(text, "--max-shard-size"); });
    EXPECT_EQ(error.kind(), ErrorKind::kUsage) << text;
    EXPECT_THAT(error.what(), HasSubstr("--max-shard-size: got '"));
  }
}

}  // namespace
}  // namespace phalanx
