// The way back: model config to config.json.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "phalanx/arch/hf_config.h"
#include "phalanx/arch/hf_test_fixtures.h"
#include "phalanx/arch/pattern.h"
#include "phalanx/arch/presets.h"
#include "phalanx/arch/test_errors.h"

namespace phalanx {
namespace {

using fixtures::expected_gpt2;
using fixtures::expected_llama;
using fixtures::expected_llama3;
using fixtures::import_text;
using fixtures::parse;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(HfConfigWrite, RoundTripOfEveryFixture) {
  for (const std::string_view text :
       {fixtures::kGpt2Tied, fixtures::kGpt2Untied, fixtures::kLlamaUntied, fixtures::kLlama3Tied,
        fixtures::kLlamaBiasLinear, fixtures::kMistral, fixtures::kQwen2Tied, fixtures::kQwen2Window,
        fixtures::kMamba, fixtures::kMamba2, fixtures::kNemotronH}) {
    const ModelConfig config = import_text(text);
    const HfFamily family = hf_family_of(parse(text), "config.json");
    EXPECT_EQ(model_config_from_hf(hf_config_from_model(config, family), "written"), config) << text;
    if (family != HfFamily::kMistral) {
      EXPECT_EQ(hf_family_for(config), family) << text;
    }
  }
}

// What config.json cannot say of a model with Mamba layers is made alike.
ModelConfig without_lost(ModelConfig c) {
  if (!c.is_hybrid_model) return c;
  c.pattern = expand(parse_pattern(c.pattern));
  c.hybrid_attention_ratio = c.hybrid_mlp_ratio = 0;
  c.seq_length = c.max_position_embeddings = 0;
  c.make_vocab_size_divisible_by = 0;
  c.activation = ActivationKind::kGelu;  // where there is no MLP
  return c;
}

TEST(HfConfigWrite, RoundTripOfPresets) {
  size_t checked = 0;
  for (const std::string& name : preset_names()) {
    ModelConfig config = *find_preset(name);
    finalize(config);
    if (name == "transformer-8b") continue;  // LayerNorm with rotary positions is in no family
    EXPECT_EQ(
        without_lost(model_config_from_hf(hf_config_from_model(config, hf_family_for(config)), "written")),
        without_lost(config))
        << name;
    ++checked;
  }
  EXPECT_EQ(checked, preset_names().size() - 1);
}

TEST(HfConfigWrite, WritesWhatBothVersionsOfTransformersRead) {
  const Json json = hf_config_from_model(expected_llama3(), HfFamily::kLlama);
  EXPECT_EQ(json["architectures"], Json::array({"LlamaForCausalLM"}));
  EXPECT_EQ(json["rope_theta"], 500000.0);
  EXPECT_EQ(json["rope_scaling"]["rope_type"], "llama3");
  EXPECT_EQ(json["rope_scaling"]["original_max_position_embeddings"], 64);
  EXPECT_FALSE(json.contains("rope_parameters"));
  EXPECT_TRUE(json["eos_token_id"].is_null());
}

TEST(HfConfigWrite, WhatAFamilyCannotSayIsListed) {
  const auto refusal = [](auto change, HfFamily family, ModelConfig config) {
    change(config);
    return message_of([&] { hf_config_from_model(config, family); });
  };
  EXPECT_EQ(refusal([](ModelConfig& c) { c.qk_norm = true; }, HfFamily::kLlama, expected_llama()),
            "export as llama: model.qk_norm: got a value that model_type llama cannot express; needed "
            "qk_norm = false. "
            "Fix: export only models of a public architecture, or change this setting");
  EXPECT_THAT(refusal([](ModelConfig&) {}, HfFamily::kGpt2, expected_llama()),
              AllOf(HasSubstr("model.normalization"), HasSubstr("model.activation"),
                    HasSubstr("model.position_embedding"), HasSubstr("model.bias"),
                    HasSubstr("model.num_query_groups")));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.window_size = 8; }, HfFamily::kLlama, expected_llama()),
              HasSubstr("model.window_size"));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.qkv_bias = true; }, HfFamily::kLlama, expected_llama()),
              HasSubstr("model.qkv_bias"));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.qkv_bias = true; }, HfFamily::kMistral, expected_llama()),
              HasSubstr("model.qkv_bias"));
  EXPECT_THAT(refusal([](ModelConfig&) {}, HfFamily::kQwen2, expected_llama()),
              HasSubstr("needed qkv_bias = true"));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.rotary_percent = 0.5; }, HfFamily::kLlama, expected_llama()),
              HasSubstr("model.rotary_percent"));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.pattern = "**--"; }, HfFamily::kLlama, expected_llama()),
              HasSubstr("model.pattern"));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.norm_1p = true; }, HfFamily::kGpt2, expected_gpt2()),
              HasSubstr("model.norm_1p"));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.kv_channels = 16; }, HfFamily::kGpt2, expected_gpt2()),
              HasSubstr("model.kv_channels"));
}

TEST(HfConfigWrite, TheFamilyIsChosenByWhatTheModelNeeds) {
  ModelConfig c = expected_llama();
  EXPECT_EQ(hf_family_for(c), HfFamily::kLlama);
  c.window_size = 8;
  EXPECT_EQ(hf_family_for(c), HfFamily::kMistral);
  c.qkv_bias = true;
  EXPECT_EQ(hf_family_for(c), HfFamily::kQwen2);
  EXPECT_EQ(hf_family_for(expected_gpt2()), HfFamily::kGpt2);
  c.activation = ActivationKind::kGelu;
  EXPECT_THAT(message_of([&] { hf_family_for(c); }), HasSubstr("export as qwen2: model.activation"));
  EXPECT_EQ(hf_model_type(HfFamily::kQwen2), "qwen2");
}

}  // namespace
}  // namespace phalanx
