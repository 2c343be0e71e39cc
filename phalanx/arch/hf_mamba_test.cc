// Config files of the families with Mamba layers, in and out.
#include "phalanx/arch/hf_mamba.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "phalanx/arch/hf_json.h"
#include "phalanx/arch/hf_test_fixtures.h"
#include "phalanx/arch/test_errors.h"

namespace phalanx {
namespace {

using fixtures::kMamba;
using fixtures::kMamba2;
using fixtures::kNemotronH;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// A field of value "remove" is taken away.
ModelConfig with(std::string_view text, const Json& changes) {
  Json json = fixtures::parse(text);
  for (const auto& [key, value] : changes.items()) {
    if (value == "remove") {
      json.erase(key);
    } else {
      json[key] = value;
    }
  }
  return model_config_from_hf(json, "config.json");
}

std::string refused(std::string_view text, const Json& changes) {
  return message_of([&] { with(text, changes); });
}

// The layers under this name alone.
Json only_layers(const char* key, const Json& value) {
  Json changes = {{"layers_block_type", "remove"}};
  changes[key] = value;
  return changes;
}

ModelConfig pure() {
  ModelConfig c;
  c.num_layers = 2;
  c.is_hybrid_model = true;
  c.hidden_size = 32;
  c.vocab_size = 128;
  c.normalization = NormKind::kRmsNorm;
  c.position_embedding = PositionKind::kNone;
  c.bias = false;
  c.init_std = 0.1;
  return c;
}

ModelConfig expected_mamba() {
  ModelConfig c = pure();
  c.pattern = "(m)x2";
  c.mamba1_state_dim = 8;
  finalize(c);
  return c;
}

ModelConfig expected_mamba2() {
  ModelConfig c = pure();
  c.pattern = "(M)x2";
  c.tied_embeddings = false;
  c.mamba_state_dim = 16;
  c.mamba_num_heads = 8;
  c.mamba_head_dim = 8;
  c.mamba_num_groups = 2;
  c.mamba_chunk_size = 8;
  c.mamba_norm_group_size = 32;
  finalize(c);
  return c;
}

ModelConfig expected_nemotron() {
  ModelConfig c = expected_mamba2();
  c.pattern = "M-*-";
  c.num_layers = 4;
  c.seq_length = c.max_position_embeddings = 4096;
  c.init_std = 0.02;
  c.activation = ActivationKind::kSquaredRelu;
  c.ffn_hidden_size = 48;
  c.num_attention_heads = 4;
  c.num_query_groups = 2;
  c.kv_channels = 8;
  c.mamba_dt_min = c.mamba_dt_init_min = 0.05;
  return c;
}

TEST(HfMamba, ReadsMamba) {
  EXPECT_EQ(fixtures::import_text(kMamba), expected_mamba());
  EXPECT_EQ(expected_mamba().mamba1_dt_rank, 2);
  EXPECT_EQ(with(kMamba, {{"time_step_rank", "auto"}}), expected_mamba());
  EXPECT_EQ(with(kMamba, {{"time_step_rank", "remove"}}), expected_mamba());
  EXPECT_EQ(with(kMamba, {{"time_step_rank", 5}}).mamba1_dt_rank, 5);
  EXPECT_EQ(with(kMamba, {{"tie_word_embeddings", "remove"}}), expected_mamba());
  EXPECT_FALSE(with(kMamba, {{"tie_word_embeddings", false}}).tied_embeddings);
  EXPECT_EQ(with(kMamba, {{"expand", 3}, {"intermediate_size", 96}}).mamba1_inner(), 96);
  EXPECT_FALSE(with(kMamba, {{"use_conv_bias", false}}).mamba_conv_bias);
  EXPECT_EQ(with(kMamba, {{"layer_norm_epsilon", 1e-3}}).norm_epsilon, 1e-3);
  EXPECT_EQ(with(kMamba, {{"conv_kernel", 3}}).mamba_conv_kernel, 3);
}

// Keys of the state-spaces library in converted files; their values say the same again.
TEST(HfMamba, KeysOfTheOriginalLibrary) {
  const Json keys = {{"d_inner", 64},
                     {"d_model", 32},
                     {"fused_add_norm", true},
                     {"n_layer", 2},
                     {"pad_vocab_size_multiple", 8},
                     {"rms_norm", true},
                     {"ssm_cfg", Json::object()}};
  EXPECT_EQ(with(kMamba, keys), expected_mamba());
  const Json wrong = {{"d_inner", 32},
                      {"d_model", 64},
                      {"n_layer", 3},
                      {"rms_norm", false},
                      {"d_intermediate", 8},
                      {"attn_layer_idx", {1}},
                      {"ssm_cfg", {{"layer", "Mamba2"}}}};
  for (const auto& [key, value] : wrong.items()) {
    EXPECT_THAT(refused(kMamba, {{key, value}}),
                AllOf(HasSubstr("config.json: field '" + key + "'"), Not(HasSubstr("problems"))));
  }
}

TEST(HfMamba, ReadsMamba2) {
  EXPECT_EQ(fixtures::import_text(kMamba2), expected_mamba2());
  EXPECT_TRUE(with(kMamba2, {{"tie_word_embeddings", true}}).tied_embeddings);
  EXPECT_FALSE(with(kMamba2, {{"tie_word_embeddings", "remove"}}).tied_embeddings);
  EXPECT_EQ(with(kMamba2, {{"n_groups", 1}}).mamba_norm_group_size, 64);
  EXPECT_EQ(with(kMamba2, {{"n_groups", "remove"}}).mamba_num_groups, 8);
  EXPECT_EQ(with(kMamba2, {{"chunk_size", "remove"}}).mamba_chunk_size, 256);
  // As in the files of Codestral: nobody reads it, and the weights are of the other order.
  EXPECT_FALSE(with(kMamba2, {{"norm_before_gate", true}, {"rms_norm", true}}).mamba_norm_before_gate);
}

TEST(HfMamba, LimitsOfTheStep) {
  const Json infinity = {{"__float__", "Infinity"}};
  const ModelConfig both = with(kMamba2, {{"time_step_limit", {0.3, 0.8}}});
  EXPECT_EQ(both.mamba_dt_min, 0.3);
  EXPECT_EQ(both.mamba_dt_max, 0.8);
  const ModelConfig low = with(kMamba2, {{"time_step_limit", {0.3, infinity}}});
  EXPECT_EQ(low.mamba_dt_min, 0.3);
  EXPECT_EQ(low.mamba_dt_max, 0.0);
  EXPECT_EQ(with(kMamba2, {{"time_step_limit", "remove"}}), expected_mamba2());
  const std::string bare = R"({"time_step_limit": [0.0, Infinity]})";
  EXPECT_EQ(with(kMamba2, parse_hf_json(bare, "config.json")), expected_mamba2());
  for (const Json& wrong : std::vector<Json>{0.5,
                                             Json::array({0.1}),
                                             {0.5, 0.5},
                                             {-0.1, 1.0},
                                             Json::array({infinity, infinity}),
                                             Json::array({"0", "1"}),
                                             Json::array({0.0, {{"__float__", "NaN"}}})}) {
    EXPECT_THAT(refused(kMamba2, {{"time_step_limit", wrong}}), HasSubstr("field 'time_step_limit'"))
        << wrong;
  }
  // Limits are written only where there are some.
  EXPECT_FALSE(hf_config_from_model(expected_mamba2(), HfFamily::kMamba2).contains("time_step_limit"));
  for (const ModelConfig& c : {both, low}) {
    EXPECT_EQ(model_config_from_hf(hf_config_from_model(c, HfFamily::kMamba2), "written"), c);
  }
}

TEST(HfMamba, ReadsNemotronH) {
  EXPECT_EQ(fixtures::import_text(kNemotronH), expected_nemotron());
  const auto layers = [](const Json& value, const char* key) {
    return with(kNemotronH, only_layers(key, value));
  };
  EXPECT_EQ(layers("M-*-", "hybrid_override_pattern"), expected_nemotron());
  EXPECT_EQ(layers({"mamba", "mlp", "attention", "mlp"}, "layers_block_type"), expected_nemotron());
  EXPECT_EQ(layers({"linear_attention", "mlp", "full_attention", "mlp"}, "layer_types"), expected_nemotron());
  EXPECT_EQ(with(kNemotronH, {{"hybrid_override_pattern", "M-*-"}, {"num_hidden_layers", 4}}),
            expected_nemotron());
  EXPECT_EQ(with(kNemotronH, {{"mlp_hidden_act", "gelu"}}).activation, ActivationKind::kGelu);
  EXPECT_EQ(with(kNemotronH, {{"head_dim", "remove"}}).kv_channels, 128);
  EXPECT_EQ(with(kNemotronH, {{"head_dim", "remove"}, {"attention_head_dim", 8}}), expected_nemotron());
  EXPECT_EQ(with(kNemotronH, {{"num_key_value_heads", nullptr}}).num_query_groups, 4);
  EXPECT_EQ(
      with(kNemotronH, {{"num_key_value_heads", "remove"}, {"num_attention_heads", 16}}).num_query_groups, 8);
  EXPECT_EQ(with(kNemotronH, {{"mamba_n_groups", 4}}).mamba_num_groups, 4);
  EXPECT_EQ(with(kNemotronH, {{"mamba_dt_min", 0.01}}).mamba_dt_min, 0.01);
  EXPECT_EQ(with(kNemotronH, {{"rope_theta", 1e4}, {"rms_norm_eps", 1e-5}}), expected_nemotron());
  EXPECT_EQ(with(kNemotronH, {{"auto_map", {{"AutoConfig", "configuration_nemotron_h.NemotronHConfig"}}}}),
            expected_nemotron());
}

TEST(HfMamba, TheFloorOfNemotronHIsItsSmallestInitialStep) {
  EXPECT_EQ(with(kNemotronH, {{"time_step_min", "remove"}}).mamba_dt_min, 1e-3);
  const ModelConfig none = with(kNemotronH, {{"time_step_min", 0.0}});
  EXPECT_EQ(none.mamba_dt_min, 0.0);
  EXPECT_EQ(none.mamba_dt_init_min, 1e-3);
  EXPECT_EQ(model_config_from_hf(hf_config_from_model(none, HfFamily::kNemotronH), "written"), none);
  EXPECT_THAT(refused(kNemotronH, {{"time_step_limit", {0.01, 1.0}}}),
              HasSubstr("field 'time_step_limit': got [0.01,1.0]; needed [0.0, Infinity]"));
  ModelConfig high = expected_nemotron();  // above all initial steps, which the file must not contradict
  high.mamba_dt_min = 0.5;
  const Json json = hf_config_from_model(high, HfFamily::kNemotronH);
  EXPECT_EQ(model_config_from_hf(json, "written").mamba_dt_min, 0.5);
}

TEST(HfMamba, LayersWithoutSizesNeedNone) {
  Json json = fixtures::parse(kNemotronH);
  for (const char* key : {"mamba_num_heads", "mamba_head_dim", "ssm_state_size", "num_attention_heads"})
    json.erase(key);
  json["layers_block_type"] = {"mlp", "mlp"};
  EXPECT_EQ(model_config_from_hf(json, "config.json").pattern, "--");
  json["layers_block_type"] = {"mlp", "mamba"};
  EXPECT_THAT(message_of([&] { model_config_from_hf(json, "config.json"); }),
              HasSubstr("field 'mamba_num_heads': got no such field"));
}

TEST(HfMamba, LayersWeDoNotImplementAreNamed) {
  const auto layers = [](const Json& value, const char* key) {
    return refused(kNemotronH, only_layers(key, value));
  };
  EXPECT_THAT(layers({"mamba", "moe"}, "layers_block_type"),
              AllOf(HasSubstr("field 'layers_block_type'"), HasSubstr("experts (moe) are not implemented")));
  EXPECT_THAT(layers("ME*E", "hybrid_override_pattern"), AllOf(HasSubstr("field 'hybrid_override_pattern'"),
                                                               HasSubstr("experts (E) are not implemented")));
  EXPECT_THAT(layers("M|M", "hybrid_override_pattern"), HasSubstr("field 'hybrid_override_pattern'"));
  EXPECT_THAT(layers({"mamba", 3}, "layer_types"), HasSubstr("field 'layer_types'"));
  EXPECT_THAT(layers("remove", "x"), HasSubstr("field 'layers_block_type': got no such field"));
  EXPECT_THAT(refused(kNemotronH, {{"hybrid_override_pattern", "M-*M"}}),
              HasSubstr("field 'hybrid_override_pattern': got \"M-*M\"; needed the layers of"));
  EXPECT_THAT(refused(kNemotronH, {{"num_hidden_layers", 5}}), HasSubstr("field 'num_hidden_layers': got 5"));
  EXPECT_THAT(layers("", "hybrid_override_pattern"), HasSubstr("model.num_layers"));
}

TEST(HfMamba, ValuesWeDoNotImplementAreNamed) {
  const auto names_it = [](std::string_view text, const char* key, const Json& value) {
    EXPECT_THAT(
        refused(text, {{key, value}}),
        AllOf(HasSubstr("config.json: field '" + std::string(key) + "'"), Not(HasSubstr("problems"))));
  };
  for (const std::string_view text : {kMamba, kMamba2, kNemotronH}) {
    names_it(text, "use_bias", true);
    names_it(text, "my_trick", 1);
    names_it(text, "quantization_config", {{"bits", 4}});
    names_it(text, "auto_map", {{"AutoModel", "modeling.Mine"}});
    names_it(text, "architectures", {"LlamaForCausalLM"});
  }
  names_it(kMamba, "hidden_act", "relu");
  names_it(kMamba, "time_step_rank", 0);
  names_it(kMamba, "intermediate_size", 96);
  names_it(kMamba, "n_groups", 2);  // of mamba2
  names_it(kMamba2, "hidden_act", "relu");
  names_it(kMamba2, "expand", 3);
  EXPECT_THAT(refused(kMamba2, {{"num_heads", 4}}), HasSubstr("field 'expand': got 2; needed num_heads x"));
  names_it(kMamba2, "attn_layer_idx", {0});
  for (const char* key : {"mlp_bias", "attention_bias", "mamba_proj_bias", "tie_word_embeddings"})
    names_it(kNemotronH, key, true);
  names_it(kNemotronH, "mamba_hidden_act", "relu");
  names_it(kNemotronH, "mlp_hidden_act", "silu");
  names_it(kNemotronH, "sliding_window", 16);
  names_it(kNemotronH, "num_nextn_predict_layers", 1);
  names_it(kNemotronH, "rms_norm_eps", 1e-3);
  names_it(kNemotronH, "attention_head_dim", 16);
}

TEST(HfMamba, RelativesAreRefusedWithWhatTheyHave) {
  const auto relative = [](const char* type) {
    return message_of([&] { hf_family_of({{"model_type", type}}, "config.json"); });
  };
  EXPECT_THAT(relative("bamba"), AllOf(HasSubstr("got \"bamba\""), HasSubstr("an MLP after every mixer"),
                                       HasSubstr("rotary positions on half of each head")));
  EXPECT_THAT(relative("zamba"), HasSubstr("attention blocks that several layers share"));
  EXPECT_THAT(relative("zamba2"), HasSubstr("attention blocks that several layers share"));
  EXPECT_THAT(relative("falcon_h1"), HasSubstr("attention and Mamba side by side in one layer"));
  EXPECT_THAT(relative("falcon_mamba"), HasSubstr("norms on B, C and dt"));
  EXPECT_THAT(relative("jamba"), HasSubstr("experts"));
}

TEST(HfMamba, TheFamilyIsChosenByTheLayers) {
  EXPECT_EQ(hf_family_for(expected_mamba()), HfFamily::kMamba);
  EXPECT_EQ(hf_family_for(expected_mamba2()), HfFamily::kMamba2);
  EXPECT_EQ(hf_family_for(expected_nemotron()), HfFamily::kNemotronH);
  ModelConfig plain = expected_nemotron();
  plain.pattern = "(*-)x2";
  EXPECT_EQ(hf_family_for(plain), HfFamily::kNemotronH);
}

TEST(HfMamba, WhatAFamilyCannotSayIsListed) {
  const auto refusal = [](auto change, ModelConfig config) {
    const HfFamily family = hf_family_for(config);
    change(config);
    return message_of([&] { hf_config_from_model(config, family); });
  };
  EXPECT_EQ(
      refusal([](ModelConfig& c) { c.mamba_norm_before_gate = true; }, expected_mamba2()),
      "export as mamba2: model.mamba_norm_before_gate: got a value that model_type mamba2 cannot express; "
      "needed mamba_norm_before_gate = false. Fix: export only models of a public architecture, or change "
      "this setting");
  const auto names_it = [&](auto change, const ModelConfig& config, const char* field) {
    EXPECT_THAT(refusal(change, config),
                AllOf(HasSubstr("model." + std::string(field) + ":"), Not(HasSubstr("problems"))));
  };
  names_it([](ModelConfig& c) { c.mamba_norm_group_size = 64; }, expected_mamba2(), "mamba_norm_group_size");
  names_it([](ModelConfig& c) { c.hidden_size = 48; }, expected_mamba2(), "mamba_num_heads");
  names_it([](ModelConfig& c) { c.pattern = "MM*"; }, expected_mamba2(), "pattern");
  names_it([](ModelConfig& c) { c.pattern = "mM"; }, expected_mamba(), "pattern");
  names_it([](ModelConfig& c) { c.normalization = NormKind::kLayerNorm; }, expected_mamba(), "normalization");
  names_it([](ModelConfig& c) { c.norm_1p = true; }, expected_mamba(), "norm_1p");
  names_it([](ModelConfig& c) { c.position_embedding = PositionKind::kRope; }, expected_nemotron(),
           "position_embedding");
  names_it([](ModelConfig& c) { c.tied_embeddings = true; }, expected_nemotron(), "tied_embeddings");
  names_it([](ModelConfig& c) { c.mamba_dt_max = 1.0; }, expected_nemotron(), "mamba_dt_max");
  names_it([](ModelConfig& c) { c.activation = ActivationKind::kSwiglu; }, expected_nemotron(), "activation");
  names_it([](ModelConfig& c) { c.qk_norm = true; }, expected_nemotron(), "qk_norm");
  names_it([](ModelConfig& c) { c.qkv_bias = true; }, expected_nemotron(), "qkv_bias");
  names_it([](ModelConfig& c) { c.window_size = 8; }, expected_nemotron(), "window_size");
  names_it([](ModelConfig& c) { c.bias = true; }, expected_nemotron(), "bias");
}

// As HfConfigFuzz: a valid model that survives being written and read, or an Error.
TEST(HfMambaFuzz, AnyValueIsAModelOrAnError) {
  std::mt19937 random(6);
  const std::vector<Json> values = {nullptr,
                                    true,
                                    0,
                                    1,
                                    2,
                                    -1,
                                    std::numeric_limits<int64_t>::max(),
                                    std::numeric_limits<int64_t>::min(),
                                    std::numeric_limits<uint64_t>::max(),
                                    0.5,
                                    -1e300,
                                    1e300,
                                    "",
                                    "auto",
                                    "silu",
                                    "M*-M",
                                    Json::array(),
                                    Json::object(),
                                    {"mamba", "mlp"},
                                    {0.1, 0.2},
                                    {0.1, {{"__float__", "Infinity"}}}};
  int accepted = 0;
  int refused_count = 0;
  for (int round = 0; round < 20000; ++round) {
    const std::string_view texts[] = {kMamba, kMamba2, kNemotronH};
    Json json = fixtures::parse(texts[random() % 3]);
    for (size_t changes = 1 + random() % 3; changes > 0; --changes) {
      auto it = json.begin();
      std::advance(it, static_cast<long>(random() % json.size()));
      *it = values[random() % values.size()];
    }
    try {
      const ModelConfig config = model_config_from_hf(json, "config.json");
      const HfFamily family = hf_family_of(json, "config.json");
      ASSERT_EQ(model_config_from_hf(hf_config_from_model(config, family), "written"), config) << json;
      ++accepted;
    } catch (const Error& error) {
      ASSERT_EQ(error.kind(), ErrorKind::kBadInput) << json;
      ++refused_count;
    }
  }
  EXPECT_GT(accepted, 1000);
  EXPECT_GT(refused_count, 1000);
}

}  // namespace
}  // namespace phalanx
