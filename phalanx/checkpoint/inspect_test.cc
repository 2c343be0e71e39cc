#include "phalanx/checkpoint/inspect.h"

#include <ATen/ATen.h>

#include <limits>

#include "phalanx/checkpoint/hf_folder.h"
#include "phalanx/checkpoint/hf_import.h"
#include "phalanx/checkpoint/model_state.h"
#include "phalanx/checkpoint/test_folders.h"

namespace phalanx {
namespace {

using ::testing::AllOf;
using testing::copy_fixture;
using testing::error_of;
using testing::fixture;
using ::testing::HasSubstr;
using testing::whole;

class InspectTest : public ::testing::Test {
 protected:
  std::string path(const std::string& name) const { return directory_.path() + "/" + name; }
  TemporaryDirectory directory_;
};

TEST_F(InspectTest, ACheckpointShowsTensorsBoxesFilesStepAndModel) {
  testing::TestModel holder(testing::tiny_llama());
  std::vector<TensorBox> boxes = weight_boxes(holder.model);
  boxes.push_back(whole("optimizer.exp_avg.final_norm.weight", at::ones({8})));
  write_checkpoint(path("step_4"), boxes,
                   {{"kind", "train"}, {"step", 4}, {"config", model_section(testing::tiny_llama())}});
  const Json d = describe_weights(path("step_4"));
  EXPECT_EQ(d["kind"], "checkpoint");
  EXPECT_EQ(d["step"], 4);
  EXPECT_EQ(d["parameters"], holder.model.table().num_parameters());  // moments are no parameters
  EXPECT_EQ(d["model"]["hidden_size"], 8);
  EXPECT_EQ(d["files"].size(), 1U);
  EXPECT_EQ(d["bytes"], std::filesystem::file_size(path("step_4/rank_00000.safetensors")));
  EXPECT_EQ(d["files"][0]["xxh3"].get<std::string>().size(), 16U);
  EXPECT_EQ(d["tensors"].size(), boxes.size());
  EXPECT_EQ(d["tensors"][0], Json({{"name", "model.embedding.token.weight"},
                                   {"dtype", "F32"},
                                   {"shape", {10, 8}},
                                   {"boxes",
                                    {{{"begin", {0, 0}},
                                      {"end", {10, 8}},
                                      {"file", "rank_00000.safetensors"},
                                      {"key", "model.embedding.token.weight"}}}}}));
}

TEST_F(InspectTest, AHuggingFaceFolderShowsItsModelOrWhyItHasNone) {
  const Json d = describe_weights(fixture("gpt2_hub"));
  EXPECT_EQ(d["kind"], "huggingface");
  EXPECT_EQ(d["parameters"],
            HfFolder(fixture("gpt2_hub")).table().num_parameters());  // masks are no parameters
  EXPECT_EQ(d["model"]["hidden_size"], 32);
  EXPECT_EQ(d["metadata"]["format"], "pt");
  EXPECT_FALSE(d.contains("problem"));
  EXPECT_EQ(describe_weights(fixture("llama_sharded"))["files"].size(), 4U);

  const std::string folder = copy_fixture("gpt2", directory_.path());
  testing::edit_json(folder + "/config.json", [](Json& json) { json["model_type"] = "bloom"; });
  const Json strange = describe_weights(folder);
  EXPECT_TRUE(strange["model"].is_null());
  EXPECT_EQ(strange["tensors"].size(), d["tensors"].size() - 2);
  EXPECT_THAT(strange["problem"].get<std::string>(), HasSubstr("\"bloom\""));
}

TEST_F(InspectTest, ASingleFileShowsItsTensors) {
  const Json d = describe_weights(fixture("gpt2/model.safetensors"));
  EXPECT_EQ(d["kind"], "safetensors");
  EXPECT_EQ(d["files"][0]["name"], "model.safetensors");
  EXPECT_EQ(d["tensors"].size(), 28U);
}

TEST_F(InspectTest, TheTextNamesEveryTensorFileAndBox) {
  Json d = describe_weights(fixture("gpt2"));
  const std::string text = weights_text(d);
  EXPECT_THAT(text, AllOf(HasSubstr("huggingface " + fixture("gpt2")),
                          HasSubstr("31616 parameters (31.6k), 28 tensors, "), HasSubstr(" in 1 file\n"),
                          HasSubstr("hidden_size 32, num_attention_heads 4")));
  for (const Json& tensor : d["tensors"])
    EXPECT_THAT(text, HasSubstr(tensor["name"].get<std::string>() + " "));
  d["problem"] = "a reason";
  d["tensors"][0]["boxes"] = {{{"begin", {0, 0}}, {"end", {64, 32}}, {"file", "a"}, {"key", "x"}},
                              {{"begin", {64, 0}}, {"end", {128, 32}}, {"file", "b"}, {"key", "x"}}};
  EXPECT_THAT(weights_text(d),
              AllOf(HasSubstr("cannot be imported: a reason"), HasSubstr("2 boxes\n      [0:64, 0:32]  a\n"),
                    HasSubstr("[64:128, 0:32]  b\n")));
}

TEST_F(InspectTest, VerifyPassesWhatIsWholeAndCountsAllOfIt) {
  import_hf(HfFolder(fixture("gpt2")), path("in"), {});
  for (const std::string& what :
       {path("in"), fixture("gpt2"), fixture("llama_sharded"), fixture("gpt2/model.safetensors")}) {
    uint64_t last = 0;
    const VerifyReport report = verify_weights(what, [&](uint64_t done) { last = done; });
    EXPECT_TRUE(report.non_finite.empty());
    EXPECT_EQ(report.num_tensors, describe_weights(what)["tensors"].size());
    EXPECT_EQ(report.num_files, describe_weights(what)["files"].size());
    EXPECT_EQ(report.bytes, describe_weights(what)["bytes"]);
    EXPECT_GT(last, 0U);
    EXPECT_LE(last, weights_read_bytes(what));
  }
}

TEST_F(InspectTest, VerifyFindsDamage) {
  import_hf(HfFolder(fixture("llama_tied")), path("in"), {});
  const std::string file = path("in/rank_00000.safetensors");
  std::string bytes = read_file(file);
  bytes[bytes.size() / 2] ^= 1;
  testing::write_text(file, bytes);
  const Error error = error_of([&] { verify_weights(path("in"), {}); });
  EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
  EXPECT_THAT(error.what(),
              AllOf(HasSubstr(file), HasSubstr("with the checksum"), HasSubstr("as the manifest says")));

  testing::edit_json(path("in/manifest.json"),
                     [](Json& json) { json["tensors"][0]["boxes"][0]["end"][0] = 5; });
  EXPECT_THAT(error_of([&] { verify_weights(path("in"), {}); }).what(),
              HasSubstr("no box for [5:128, 0:32]"));
}

TEST_F(InspectTest, VerifyCountsWhatIsNotFiniteByTensor) {
  const double inf = std::numeric_limits<double>::infinity();
  write_checkpoint(path("step_1"),
                   {whole("good", at::ones({4})),
                    whole("bad", at::tensor({inf, -inf, std::nan(""), 1.0}).to(at::kBFloat16))},
                   {});
  const VerifyReport report = verify_weights(path("step_1"), {});
  ASSERT_EQ(report.non_finite.size(), 1U);
  EXPECT_EQ(report.non_finite[0].name, "bad");
  EXPECT_EQ(report.non_finite[0].counted.nan, 1);
  EXPECT_EQ(report.non_finite[0].counted.inf, 2);
}

}  // namespace
}  // namespace phalanx
