// Names of tensors in files of the families with Mamba layers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "phalanx/arch/hf_names.h"
#include "phalanx/arch/hf_test_fixtures.h"
#include "phalanx/arch/test_errors.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;

struct Row {
  const char* logical;
  const char* name;
  std::vector<int64_t> shape;
  std::optional<HfRows> rows;
  bool unit_middle = false;
};

struct Model {
  ModelConfig config;
  HfFamily family;
  ParameterTable table;

  std::vector<HfMapping> mapping() const { return hf_mapping(config, family, table); }
  // What save_pretrained writes: each tensor once.
  std::vector<HfTensorInfo> file() const {
    std::vector<HfTensorInfo> tensors;
    std::set<std::string> seen;
    for (const HfMapping& entry : mapping()) {
      if (seen.insert(entry.hf_name).second) tensors.push_back({entry.hf_name, entry.hf_shape});
    }
    return tensors;
  }
  HfImportPlan plan(const std::vector<HfTensorInfo>& tensors) const {
    return plan_hf_import(config, family, table, tensors, "model.safetensors");
  }
};

Model model(std::string_view text) {
  const Json json = fixtures::parse(text);
  const ModelConfig config = model_config_from_hf(json, "config.json");
  return {config, hf_family_of(json, "config.json"), make_parameter_table(config)};
}

void expect_rows(const Model& m, const std::vector<Row>& rows) {
  const std::vector<HfMapping> mapping = m.mapping();
  for (const Row& row : rows) {
    const auto it =
        std::find_if(mapping.begin(), mapping.end(), [&](const auto& e) { return e.logical == row.logical; });
    ASSERT_NE(it, mapping.end()) << row.logical;
    EXPECT_EQ(it->hf_name, row.name);
    EXPECT_EQ(it->hf_shape, row.shape) << row.name;
    EXPECT_EQ(it->rows, row.rows) << row.logical;
    EXPECT_EQ(it->unit_middle, row.unit_middle) << row.name;
    EXPECT_FALSE(it->transpose);
  }
}

// Shapes as save_pretrained of transformers 5.23.0 wrote them beside the config.json of the fixture.
TEST(HfMambaNames, Mamba) {
  const Model m = model(fixtures::kMamba);
  const std::string p = "backbone.layers.1.mixer.";
  expect_rows(m, {{"embedding.token.weight", "backbone.embeddings.weight", {128, 32}, {}},
                  {"final_norm.weight", "backbone.norm_f.weight", {32}, {}},
                  {"layers.1.norm.weight", "backbone.layers.1.norm.weight", {32}, {}},
                  {"layers.1.mamba1.x.weight", (p + "in_proj.weight").c_str(), {128, 32}, HfRows{0, 64}},
                  {"layers.1.mamba1.z.weight", (p + "in_proj.weight").c_str(), {128, 32}, HfRows{64, 128}},
                  {"layers.1.mamba1.conv.weight", (p + "conv1d.weight").c_str(), {64, 1, 4}, {}, true},
                  {"layers.1.mamba1.conv.bias", (p + "conv1d.bias").c_str(), {64}, {}},
                  {"layers.1.mamba1.dt_low.weight", (p + "x_proj.weight").c_str(), {18, 64}, HfRows{0, 2}},
                  {"layers.1.mamba1.B.weight", (p + "x_proj.weight").c_str(), {18, 64}, HfRows{2, 10}},
                  {"layers.1.mamba1.C.weight", (p + "x_proj.weight").c_str(), {18, 64}, HfRows{10, 18}},
                  {"layers.1.mamba1.dt_proj.weight", (p + "dt_proj.weight").c_str(), {64, 2}, {}},
                  {"layers.1.mamba1.dt_bias", (p + "dt_proj.bias").c_str(), {64}, {}},
                  {"layers.1.mamba1.A_log", (p + "A_log").c_str(), {64, 8}, {}},
                  {"layers.1.mamba1.D", (p + "D").c_str(), {64}, {}},
                  {"layers.1.mamba1.out.weight", (p + "out_proj.weight").c_str(), {32, 64}, {}}});
  EXPECT_EQ(m.file().size(), 22U);  // as many as in that file
}

TEST(HfMambaNames, Mamba2) {
  const Model m = model(fixtures::kMamba2);
  const std::string p = "backbone.layers.0.mixer.";
  const std::string in = p + "in_proj.weight";
  const std::string conv = p + "conv1d.weight";
  expect_rows(m, {{"head.weight", "lm_head.weight", {128, 32}, {}},
                  {"layers.0.mamba.z.weight", in.c_str(), {200, 32}, HfRows{0, 64}},
                  {"layers.0.mamba.x.weight", in.c_str(), {200, 32}, HfRows{64, 128}},
                  {"layers.0.mamba.B.weight", in.c_str(), {200, 32}, HfRows{128, 160}},
                  {"layers.0.mamba.C.weight", in.c_str(), {200, 32}, HfRows{160, 192}},
                  {"layers.0.mamba.dt.weight", in.c_str(), {200, 32}, HfRows{192, 200}},
                  {"layers.0.mamba.conv_x.weight", conv.c_str(), {128, 1, 4}, HfRows{0, 64}, true},
                  {"layers.0.mamba.conv_B.weight", conv.c_str(), {128, 1, 4}, HfRows{64, 96}, true},
                  {"layers.0.mamba.conv_C.weight", conv.c_str(), {128, 1, 4}, HfRows{96, 128}, true},
                  {"layers.0.mamba.conv_C.bias", (p + "conv1d.bias").c_str(), {128}, HfRows{96, 128}},
                  {"layers.0.mamba.dt_bias", (p + "dt_bias").c_str(), {8}, {}},
                  {"layers.0.mamba.A_log", (p + "A_log").c_str(), {8}, {}},
                  {"layers.0.mamba.D", (p + "D").c_str(), {8}, {}},
                  {"layers.0.mamba.norm.weight", (p + "norm.weight").c_str(), {64}, {}},
                  {"layers.0.norm.weight", "backbone.layers.0.norm.weight", {32}, {}},
                  {"layers.0.mamba.out.weight", (p + "out_proj.weight").c_str(), {32, 64}, {}}});
  EXPECT_EQ(m.file().size(), 21U);
}

TEST(HfMambaNames, NemotronHCountsItsLayersOneByOne) {
  const Model m = model(fixtures::kNemotronH);
  expect_rows(m, {{"layers.0.mamba.A_log", "backbone.layers.0.mixer.A_log", {8}, {}},
                  {"layers.1.mlp.up.weight", "backbone.layers.1.mixer.up_proj.weight", {48, 32}, {}},
                  {"layers.2.attention.q.weight", "backbone.layers.2.mixer.q_proj.weight", {32, 32}, {}},
                  {"layers.2.attention.k.weight", "backbone.layers.2.mixer.k_proj.weight", {16, 32}, {}},
                  {"layers.2.attention.v.weight", "backbone.layers.2.mixer.v_proj.weight", {16, 32}, {}},
                  {"layers.2.attention.out.weight", "backbone.layers.2.mixer.o_proj.weight", {32, 32}, {}},
                  {"layers.3.mlp.down.weight", "backbone.layers.3.mixer.down_proj.weight", {32, 48}, {}},
                  {"layers.3.norm.weight", "backbone.layers.3.norm.weight", {32}, {}}});
  EXPECT_EQ(m.file().size(), 23U);
}

void expect_renamed(const Model& m, const std::string& from, const std::string& to) {
  std::vector<HfTensorInfo> file = m.file();
  for (HfTensorInfo& tensor : file) {
    if (tensor.name.starts_with(from)) tensor.name.replace(0, from.size(), to);
  }
  const HfImportPlan plan = m.plan(file);
  const std::vector<HfMapping> mapping = m.mapping();
  for (size_t i = 0; i < mapping.size(); ++i) {
    const std::string& name = mapping[i].hf_name;
    EXPECT_EQ(plan.tensors[i].hf_name, name.starts_with(from) ? to + name.substr(from.size()) : name);
  }
}

TEST(HfMambaNames, BothPrefixesNoneAndTheOriginalNamesAreRead) {
  for (const std::string_view text : {fixtures::kMamba, fixtures::kMamba2, fixtures::kNemotronH}) {
    const Model m = model(text);
    expect_renamed(m, "backbone.", "model.");
    expect_renamed(m, "backbone.", "");
    expect_renamed(m, "backbone.embeddings.", "backbone.embedding.");
  }
}

TEST(HfMambaNames, ASecondNameOfTheSameTensorIsRefused) {
  const Model m = model(fixtures::kMamba);
  std::vector<HfTensorInfo> file = m.file();
  file.push_back({"model.embedding.weight", {128, 32}});
  EXPECT_THAT(message_of([&] { m.plan(file); }),
              HasSubstr("tensor model.embedding.weight: got a second copy"));
}

TEST(HfMambaNames, ATiedHeadMayBeStored) {
  const Model m = model(fixtures::kMamba);
  std::vector<HfTensorInfo> file = m.file();
  EXPECT_FALSE(m.plan(file).tied_head.has_value());
  file.push_back({"lm_head.weight", {128, 32}});
  EXPECT_EQ(m.plan(file).tied_head, "lm_head.weight");
}

TEST(HfMambaNames, AConvolutionOfAnotherShapeIsNamed) {
  const Model m = model(fixtures::kMamba2);
  std::vector<HfTensorInfo> file = m.file();
  for (HfTensorInfo& tensor : file) {
    if (tensor.name == "backbone.layers.1.mixer.conv1d.weight") tensor.shape = {128, 4};
  }
  file.push_back({"backbone.rotary_emb.inv_freq", {4}});  // no buffer here
  const std::string message = message_of([&] { m.plan(file); });
  EXPECT_THAT(message, HasSubstr("conv1d.weight: got [128, 4]; needed [128, 1, 4]"));
  EXPECT_THAT(message, HasSubstr("tensor backbone.rotary_emb.inv_freq: got [4]; needed no such tensor"));
}

}  // namespace
}  // namespace phalanx
