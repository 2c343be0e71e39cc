#include "phalanx/arch/hf_names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

#include "phalanx/arch/hf_test_fixtures.h"
#include "phalanx/arch/test_errors.h"

namespace phalanx {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// Names and shapes in the model.safetensors that save_pretrained of transformers 5.23.0 wrote beside the config.json of
// the same fixture.
constexpr std::string_view kGpt2UntiedNames = R"(
lm_head.weight:128x32 transformer.h.0.attn.c_attn.bias:96 transformer.h.0.attn.c_attn.weight:32x96
transformer.h.0.attn.c_proj.bias:32 transformer.h.0.attn.c_proj.weight:32x32 transformer.h.0.ln_1.bias:32
transformer.h.0.ln_1.weight:32 transformer.h.0.ln_2.bias:32 transformer.h.0.ln_2.weight:32
transformer.h.0.mlp.c_fc.bias:96 transformer.h.0.mlp.c_fc.weight:32x96 transformer.h.0.mlp.c_proj.bias:32
transformer.h.0.mlp.c_proj.weight:96x32 transformer.h.1.attn.c_attn.bias:96
transformer.h.1.attn.c_attn.weight:32x96 transformer.h.1.attn.c_proj.bias:32
transformer.h.1.attn.c_proj.weight:32x32 transformer.h.1.ln_1.bias:32 transformer.h.1.ln_1.weight:32
transformer.h.1.ln_2.bias:32 transformer.h.1.ln_2.weight:32 transformer.h.1.mlp.c_fc.bias:96
transformer.h.1.mlp.c_fc.weight:32x96 transformer.h.1.mlp.c_proj.bias:32
transformer.h.1.mlp.c_proj.weight:96x32 transformer.ln_f.bias:32 transformer.ln_f.weight:32
transformer.wpe.weight:64x32 transformer.wte.weight:128x32
)";
constexpr std::string_view kLlamaBiasNames = R"(
lm_head.weight:128x32 model.embed_tokens.weight:128x32 model.layers.0.input_layernorm.weight:32
model.layers.0.mlp.down_proj.bias:32 model.layers.0.mlp.down_proj.weight:32x64
model.layers.0.mlp.gate_proj.bias:64 model.layers.0.mlp.gate_proj.weight:64x32
model.layers.0.mlp.up_proj.bias:64 model.layers.0.mlp.up_proj.weight:64x32
model.layers.0.post_attention_layernorm.weight:32 model.layers.0.self_attn.k_proj.bias:16
model.layers.0.self_attn.k_proj.weight:16x32 model.layers.0.self_attn.o_proj.bias:32
model.layers.0.self_attn.o_proj.weight:32x32 model.layers.0.self_attn.q_proj.bias:32
model.layers.0.self_attn.q_proj.weight:32x32 model.layers.0.self_attn.v_proj.bias:16
model.layers.0.self_attn.v_proj.weight:16x32 model.layers.1.input_layernorm.weight:32
model.layers.1.mlp.down_proj.bias:32 model.layers.1.mlp.down_proj.weight:32x64
model.layers.1.mlp.gate_proj.bias:64 model.layers.1.mlp.gate_proj.weight:64x32
model.layers.1.mlp.up_proj.bias:64 model.layers.1.mlp.up_proj.weight:64x32
model.layers.1.post_attention_layernorm.weight:32 model.layers.1.self_attn.k_proj.bias:16
model.layers.1.self_attn.k_proj.weight:16x32 model.layers.1.self_attn.o_proj.bias:32
model.layers.1.self_attn.o_proj.weight:32x32 model.layers.1.self_attn.q_proj.bias:32
model.layers.1.self_attn.q_proj.weight:32x32 model.layers.1.self_attn.v_proj.bias:16
model.layers.1.self_attn.v_proj.weight:16x32 model.norm.weight:32
)";
constexpr std::string_view kQwen2TiedNames = R"(
model.embed_tokens.weight:128x32 model.layers.0.input_layernorm.weight:32
model.layers.0.mlp.down_proj.weight:32x64 model.layers.0.mlp.gate_proj.weight:64x32
model.layers.0.mlp.up_proj.weight:64x32 model.layers.0.post_attention_layernorm.weight:32
model.layers.0.self_attn.k_proj.bias:16 model.layers.0.self_attn.k_proj.weight:16x32
model.layers.0.self_attn.o_proj.weight:32x32 model.layers.0.self_attn.q_proj.bias:32
model.layers.0.self_attn.q_proj.weight:32x32 model.layers.0.self_attn.v_proj.bias:16
model.layers.0.self_attn.v_proj.weight:16x32 model.layers.1.input_layernorm.weight:32
model.layers.1.mlp.down_proj.weight:32x64 model.layers.1.mlp.gate_proj.weight:64x32
model.layers.1.mlp.up_proj.weight:64x32 model.layers.1.post_attention_layernorm.weight:32
model.layers.1.self_attn.k_proj.bias:16 model.layers.1.self_attn.k_proj.weight:16x32
model.layers.1.self_attn.o_proj.weight:32x32 model.layers.1.self_attn.q_proj.bias:32
model.layers.1.self_attn.q_proj.weight:32x32 model.layers.1.self_attn.v_proj.bias:16
model.layers.1.self_attn.v_proj.weight:16x32 model.norm.weight:32
)";

std::vector<HfTensorInfo> tensors_of(std::string_view text) {
  std::vector<HfTensorInfo> tensors;
  std::istringstream words{std::string(text)};
  for (std::string word; words >> word;) {
    const size_t colon = word.find(':');
    HfTensorInfo tensor{.name = word.substr(0, colon), .shape = {}};
    std::istringstream sizes(word.substr(colon + 1));
    for (std::string size; std::getline(sizes, size, 'x');) tensor.shape.push_back(std::stoll(size));
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

struct Model {
  ModelConfig config;
  HfFamily family;
  ParameterTable table;
  std::vector<HfTensorInfo> file;

  HfImportPlan plan() const { return plan_hf_import(config, family, table, file, "model.safetensors"); }
  std::string refused() const {
    return message_of([&] { plan(); });
  }
  HfTensorInfo& tensor(const std::string& name) {
    return *std::find_if(file.begin(), file.end(), [&](const auto& t) { return t.name == name; });
  }
  void remove(const std::string& name) {
    std::erase_if(file, [&](const auto& t) { return t.name == name; });
  }
};

Model model(std::string_view config_json, std::string_view names) {
  const Json json = fixtures::parse(config_json);
  const ModelConfig config = model_config_from_hf(json, "config.json");
  return {config, hf_family_of(json, "config.json"), make_parameter_table(config), tensors_of(names)};
}

Model gpt2() {
  return model(fixtures::kGpt2Untied, kGpt2UntiedNames);
}
Model llama() {
  return model(fixtures::kLlamaBiasLinear, kLlamaBiasNames);
}
Model qwen2() {
  return model(fixtures::kQwen2Tied, kQwen2TiedNames);
}

const HfMapping& entry(const std::vector<HfMapping>& mapping, const std::string& logical) {
  return *std::find_if(mapping.begin(), mapping.end(), [&](const auto& m) { return m.logical == logical; });
}

void expect_entry(const HfMapping& m, const std::string& name, std::vector<int64_t> shape, bool transpose,
                  std::optional<HfRows> rows = std::nullopt) {
  EXPECT_EQ(m.hf_name, name);
  EXPECT_EQ(m.hf_shape, shape) << name;
  EXPECT_EQ(m.transpose, transpose) << name;
  EXPECT_EQ(m.rows, rows) << name;
}

TEST(HfNames, Gpt2StoresTransposedAndFusesQkv) {
  const Model m = gpt2();
  const auto mapping = hf_mapping(m.config, m.family, m.table);
  expect_entry(entry(mapping, "embedding.token.weight"), "transformer.wte.weight", {128, 32}, false);
  expect_entry(entry(mapping, "embedding.position.weight"), "transformer.wpe.weight", {64, 32}, false);
  expect_entry(entry(mapping, "layers.2.norm.bias"), "transformer.h.1.ln_1.bias", {32}, false);
  expect_entry(entry(mapping, "layers.3.norm.weight"), "transformer.h.1.ln_2.weight", {32}, false);
  expect_entry(entry(mapping, "layers.0.attention.q.weight"), "transformer.h.0.attn.c_attn.weight", {32, 96},
               true, HfRows{0, 32});
  expect_entry(entry(mapping, "layers.0.attention.k.weight"), "transformer.h.0.attn.c_attn.weight", {32, 96},
               true, HfRows{32, 64});
  expect_entry(entry(mapping, "layers.0.attention.v.weight"), "transformer.h.0.attn.c_attn.weight", {32, 96},
               true, HfRows{64, 96});
  expect_entry(entry(mapping, "layers.0.attention.v.bias"), "transformer.h.0.attn.c_attn.bias", {96}, false,
               HfRows{64, 96});
  expect_entry(entry(mapping, "layers.0.attention.out.weight"), "transformer.h.0.attn.c_proj.weight",
               {32, 32}, true);
  expect_entry(entry(mapping, "layers.1.mlp.up.weight"), "transformer.h.0.mlp.c_fc.weight", {32, 96}, true);
  expect_entry(entry(mapping, "layers.1.mlp.down.weight"), "transformer.h.0.mlp.c_proj.weight", {96, 32},
               true);
  expect_entry(entry(mapping, "final_norm.bias"), "transformer.ln_f.bias", {32}, false);
  expect_entry(entry(mapping, "head.weight"), "lm_head.weight", {128, 32}, false);
}

TEST(HfNames, LlamaStoresOneTensorEach) {
  const Model m = llama();
  const auto mapping = hf_mapping(m.config, m.family, m.table);
  expect_entry(entry(mapping, "layers.0.norm.weight"), "model.layers.0.input_layernorm.weight", {32}, false);
  expect_entry(entry(mapping, "layers.1.norm.weight"), "model.layers.0.post_attention_layernorm.weight", {32},
               false);
  expect_entry(entry(mapping, "layers.2.attention.k.weight"), "model.layers.1.self_attn.k_proj.weight",
               {16, 32}, false);
  expect_entry(entry(mapping, "layers.2.attention.out.bias"), "model.layers.1.self_attn.o_proj.bias", {32},
               false);
  expect_entry(entry(mapping, "layers.3.mlp.gate.weight"), "model.layers.1.mlp.gate_proj.weight", {64, 32},
               false);
  expect_entry(entry(mapping, "layers.3.mlp.down.weight"), "model.layers.1.mlp.down_proj.weight", {32, 64},
               false);
  expect_entry(entry(mapping, "final_norm.weight"), "model.norm.weight", {32}, false);
}

// Each logical tensor once, and the mapped tensors are exactly those that transformers writes, covered without gap or
// overlap, with as many elements.
TEST(HfNames, TheMapIsCompleteInBothDirections) {
  for (const Model& m : {gpt2(), llama(), qwen2()}) {
    const auto mapping = hf_mapping(m.config, m.family, m.table);
    const auto logical = m.table.logical_tensors();
    ASSERT_EQ(mapping.size(), logical.size());
    std::map<std::string, int64_t> covered;
    for (size_t i = 0; i < mapping.size(); ++i) {
      EXPECT_EQ(mapping[i].logical, logical[i]->name);
      std::vector<int64_t> shape = mapping[i].hf_shape;
      if (mapping[i].transpose) std::swap(shape[0], shape[1]);
      const HfRows rows = mapping[i].rows.value_or(HfRows{0, shape[0]});
      EXPECT_EQ(rows.begin, covered[mapping[i].hf_name]);
      covered[mapping[i].hf_name] = rows.end;
      shape[0] = rows.end - rows.begin;
      EXPECT_EQ(shape, logical[i]->shape) << mapping[i].logical;
    }
    std::map<std::string, int64_t> written;
    for (const HfTensorInfo& tensor : m.file) {
      const auto it = std::find_if(mapping.begin(), mapping.end(),
                                   [&](const auto& e) { return e.hf_name == tensor.name; });
      ASSERT_NE(it, mapping.end()) << tensor.name;
      EXPECT_EQ(it->hf_shape, tensor.shape) << tensor.name;
      written[tensor.name] = it->transpose ? tensor.shape[1] : tensor.shape[0];
    }
    EXPECT_EQ(covered, written);
  }
}

TEST(HfNames, PlansTheFilesTransformersWrites) {
  for (const Model& m : {gpt2(), llama(), qwen2()}) {
    const HfImportPlan plan = m.plan();
    EXPECT_EQ(plan.tensors.size(), m.table.logical_tensors().size());
    EXPECT_FALSE(plan.tied_head.has_value());
  }
}

TEST(HfNames, ATiedHeadMayBeStoredAndIsThenNamed) {
  Model m = qwen2();
  m.file.push_back({"lm_head.weight", {128, 32}});
  EXPECT_EQ(m.plan().tied_head, "lm_head.weight");
  m.file.back().shape = {127, 32};
  EXPECT_EQ(m.refused(),
            "model.safetensors: tensor lm_head.weight: got [127, 32]; needed [128, 32]. Fix: the weights "
            "belong to another "
            "config.json");
}

TEST(HfNames, AnUntiedHeadMustBeThere) {
  Model m = llama();
  m.remove("lm_head.weight");
  EXPECT_EQ(m.refused(),
            "model.safetensors: tensor lm_head.weight: got no such tensor; needed [128, 32]. Fix: look for a "
            "missing shard");
}

// The first GPT-2 files hold the base model without its prefix, and the causal mask of each layer.
TEST(HfNames, ThePrefixIsOptionalAndOldBuffersAreIgnored) {
  Model m = gpt2();
  for (HfTensorInfo& tensor : m.file) {
    if (tensor.name != "lm_head.weight") tensor.name.erase(0, std::string("transformer.").size());
  }
  m.file.push_back({"h.0.attn.bias", {1, 1, 64, 64}});
  m.file.push_back({"h.0.attn.masked_bias", {}});
  const HfImportPlan plan = m.plan();
  EXPECT_EQ(entry(plan.tensors, "layers.0.attention.k.bias").hf_name, "h.0.attn.c_attn.bias");
  EXPECT_EQ(entry(plan.tensors, "final_norm.weight").hf_name, "ln_f.weight");
  m.file.push_back({"h.0.attn.bias2", {1}});
  EXPECT_THAT(m.refused(), HasSubstr("tensor h.0.attn.bias2: got [1]; needed no such tensor"));

  Model old = llama();
  old.file.push_back({"model.layers.1.self_attn.rotary_emb.inv_freq", {4}});
  old.file.push_back({"model.rotary_emb.inv_freq", {4}});
  EXPECT_NO_THROW(old.plan());
  old.file.push_back({"model.layers.x.self_attn.rotary_emb.inv_freq", {4}});
  EXPECT_THAT(old.refused(), AllOf(HasSubstr("layers.x.self_attn"), Not(HasSubstr("problems"))));
}

TEST(HfNames, AllMistakesAreInOneReport) {
  Model m = gpt2();
  m.remove("transformer.h.1.attn.c_attn.weight");
  m.tensor("transformer.wte.weight").shape = {32, 128};
  m.file.push_back({"transformer.h.2.ln_1.weight", {32}});
  m.file.push_back({"wpe.weight", {64, 32}});
  EXPECT_EQ(
      m.refused(),
      "model.safetensors: got 4 problems:\n"
      "  model.safetensors: tensor wpe.weight: got a second copy; needed one of each. Fix: keep one of them\n"
      "  model.safetensors: tensor transformer.wte.weight: got [32, 128]; needed [128, 32]. Fix: the weights "
      "belong to "
      "another config.json\n"
      "  model.safetensors: tensor transformer.h.1.attn.c_attn.weight: got no such tensor; needed [32, 96]. "
      "Fix: look "
      "for a missing shard\n"
      "  model.safetensors: tensor transformer.h.2.ln_1.weight: got [32]; needed no such tensor. Fix: the "
      "weights "
      "belong to another architecture or config.json");
}

TEST(HfNames, ASecondHeadOrAClassifierIsRefused) {
  Model m = llama();
  m.file.push_back({"score.weight", {2, 32}});
  EXPECT_THAT(m.refused(), HasSubstr("tensor score.weight: got [2, 32]; needed no such tensor"));
  Model doubled = llama();
  doubled.file.push_back({"lm_head.weight", {128, 32}});
  EXPECT_THAT(doubled.refused(), HasSubstr("tensor lm_head.weight: got a second copy"));
}

TEST(HfNames, AModelOutsideTheFamilyHasNoMap) {
  ModelConfig c = fixtures::expected_llama();
  c.qk_norm = true;
  const ParameterTable table = make_parameter_table(c);
  EXPECT_THAT(message_of([&] { hf_mapping(c, HfFamily::kLlama, table); }),
              HasSubstr("export as llama: model.qk_norm"));
}

}  // namespace
}  // namespace phalanx
