#include "phalanx/arch/hf_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "phalanx/arch/hf_test_fixtures.h"
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
using ::testing::Not;

// The fixture with some fields replaced; a field of value "remove" is taken away.
Json changed(std::string_view text, const Json& changes) {
  Json json = parse(text);
  for (const auto& [key, value] : changes.items()) {
    if (value == "remove") {
      json.erase(key);
    } else {
      json[key] = value;
    }
  }
  return json;
}

ModelConfig import_changed(std::string_view text, const Json& changes) {
  return model_config_from_hf(changed(text, changes), "config.json");
}

std::string refused(std::string_view text, const Json& changes) {
  return message_of([&] { import_changed(text, changes); });
}

TEST(HfConfig, ReadsGpt2) {
  EXPECT_EQ(import_text(fixtures::kGpt2Tied), expected_gpt2());
  EXPECT_EQ(import_text(fixtures::kGpt2Old), expected_gpt2());
  ModelConfig untied = expected_gpt2();
  untied.ffn_hidden_size = 96;
  untied.activation = ActivationKind::kGelu;
  untied.tied_embeddings = false;
  untied.hidden_dropout = 0.0;
  untied.attention_dropout = 0.0;
  EXPECT_EQ(import_text(fixtures::kGpt2Untied), untied);
}

TEST(HfConfig, ReadsLlama) {
  EXPECT_EQ(import_text(fixtures::kLlamaUntied), expected_llama());
  EXPECT_EQ(import_text(fixtures::kLlama3Tied), expected_llama3());
  EXPECT_EQ(import_text(fixtures::kLlama3Old), expected_llama3());
  ModelConfig linear = expected_llama();
  linear.bias = true;
  linear.rope_scaling = RopeScalingKind::kLinear;
  linear.rope_scaling_factor = 2.0;
  EXPECT_EQ(import_text(fixtures::kLlamaBiasLinear), linear);
}

TEST(HfConfig, ReadsMistral) {
  ModelConfig c = expected_llama();
  c.window_size = 16;
  EXPECT_EQ(import_text(fixtures::kMistral), c);
  EXPECT_EQ(import_changed(fixtures::kMistral, {{"sliding_window", nullptr}}).window_size, 0);
  EXPECT_EQ(import_changed(fixtures::kMistral, {{"sliding_window", "remove"}}).window_size, 4096);
  EXPECT_THAT(refused(fixtures::kMistral, {{"sliding_window", 0}}),
              HasSubstr("config.json: field 'sliding_window': got 0; needed null, or at least 1"));
}

TEST(HfConfig, ReadsQwen2) {
  ModelConfig c = expected_llama();
  c.qkv_bias = true;
  c.tied_embeddings = true;
  EXPECT_EQ(import_text(fixtures::kQwen2Tied), c);
  c.tied_embeddings = false;
  c.window_size = 16;
  EXPECT_EQ(import_text(fixtures::kQwen2Window), c);
}

// Before transformers 5 a file has no layer_types: the window holds from layer max_window_layers on.
TEST(HfConfig, Qwen2WindowsAreForAllLayersOrNone) {
  const auto window = [](Json changes) {
    changes["layer_types"] = "remove";
    return import_changed(fixtures::kQwen2Window, changes).window_size;
  };
  EXPECT_EQ(window(Json::object()), 16);
  EXPECT_EQ(window({{"use_sliding_window", false}}), 0);
  EXPECT_EQ(window({{"max_window_layers", 2}}), 0);
  EXPECT_EQ(window({{"sliding_window", nullptr}}), 0);
  EXPECT_EQ(window({{"sliding_window", "remove"}}), 4096);
  EXPECT_THAT(refused(fixtures::kQwen2Window, {{"layer_types", "remove"}, {"max_window_layers", 1}}),
              HasSubstr("field 'max_window_layers': got 1; needed a window in all layers or in none"));
  EXPECT_EQ(import_changed(fixtures::kQwen2Window, {{"layer_types", {"full_attention", "full_attention"}}})
                .window_size,
            0);
  EXPECT_THAT(
      refused(fixtures::kQwen2Window, {{"layer_types", {"full_attention", "sliding_attention"}}}),
      HasSubstr(
          "field 'layer_types': got [\"full_attention\",\"sliding_attention\"]; needed a window in all"));
  EXPECT_THAT(refused(fixtures::kQwen2Window, {{"layer_types", {"full_attention", "linear_attention"}}}),
              HasSubstr("other kinds of attention are not implemented"));
  EXPECT_THAT(refused(fixtures::kQwen2Window, {{"layer_types", {"sliding_attention"}}}),
              HasSubstr("field 'layer_types'"));
  EXPECT_THAT(refused(fixtures::kQwen2Window, {{"use_sliding_window", false}}),
              HasSubstr("field 'sliding_window'"));
}

TEST(HfConfig, MissingFieldsTakeTheDefaultsOfTheClass) {
  const ModelConfig llama = import_changed(fixtures::kLlamaUntied, {{"num_key_value_heads", "remove"},
                                                                    {"rms_norm_eps", "remove"},
                                                                    {"rope_parameters", "remove"},
                                                                    {"head_dim", "remove"},
                                                                    {"tie_word_embeddings", "remove"},
                                                                    {"max_position_embeddings", "remove"},
                                                                    {"hidden_act", "remove"},
                                                                    {"attention_bias", "remove"},
                                                                    {"mlp_bias", "remove"},
                                                                    {"architectures", "remove"}});
  ModelConfig expected = expected_llama();
  expected.num_query_groups = 4;
  expected.seq_length = expected.max_position_embeddings = 2048;
  EXPECT_EQ(llama, expected);
  EXPECT_TRUE(import_changed(fixtures::kGpt2Tied, {{"tie_word_embeddings", "remove"}}).tied_embeddings);
  EXPECT_EQ(import_changed(fixtures::kGpt2Tied, {{"n_inner", "remove"}}).ffn_hidden_size, 128);
  EXPECT_EQ(import_changed(fixtures::kMistral, {{"num_key_value_heads", nullptr}}).num_query_groups, 4);
  EXPECT_EQ(import_changed(fixtures::kMistral, {{"max_position_embeddings", "remove"}}).seq_length, 131072);
  // Mistral's class has 8 groups, which 4 heads cannot have.
  EXPECT_THAT(refused(fixtures::kMistral, {{"num_key_value_heads", "remove"}}),
              HasSubstr("config.json: model.num_query_groups: got 8 groups for 4 heads"));
}

TEST(HfConfig, SizesMustBeThere) {
  for (const char* key :
       {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"}) {
    EXPECT_THAT(
        refused(fixtures::kLlamaUntied, {{key, "remove"}}),
        HasSubstr("config.json: field '" + std::string(key) + "': got no such field; needed an integer"));
  }
  for (const char* key : {"vocab_size", "n_embd", "n_layer", "n_head", "n_positions"}) {
    EXPECT_THAT(refused(fixtures::kGpt2Tied, {{key, nullptr}}),
                HasSubstr("field '" + std::string(key) + "': got null"));
  }
}

TEST(HfConfig, WrongTypesAreNamed) {
  EXPECT_THAT(refused(fixtures::kLlamaUntied, {{"hidden_size", "32"}}),
              HasSubstr("field 'hidden_size': got \"32\"; needed an integer"));
  EXPECT_THAT(refused(fixtures::kLlamaUntied, {{"hidden_size", 32.5}}),
              HasSubstr("got 32.5; needed an integer"));
  EXPECT_THAT(refused(fixtures::kLlamaUntied, {{"hidden_size", 18446744073709551615u}}),
              HasSubstr("needed an integer"));
  EXPECT_THAT(refused(fixtures::kLlamaUntied, {{"rms_norm_eps", true}}),
              HasSubstr("got true; needed a number"));
  EXPECT_THAT(refused(fixtures::kLlamaUntied, {{"tie_word_embeddings", 1}}),
              HasSubstr("got 1; needed true or false"));
  EXPECT_THAT(refused(fixtures::kLlamaUntied, {{"hidden_act", 3}}), HasSubstr("got 3; needed a string"));
  EXPECT_THAT(refused(fixtures::kLlamaUntied, {{"rope_parameters", "x"}}),
              HasSubstr("needed null or an object"));
  EXPECT_THAT(refused(fixtures::kQwen2Tied, {{"layer_types", 3}}), HasSubstr("field 'layer_types': got 3"));
}

TEST(HfConfig, UnknownFieldsAreNamedTogether) {
  const std::string message =
      refused(fixtures::kLlamaUntied, {{"logit_softcap", 30.0}, {"my_trick", {1, 2}}});
  EXPECT_EQ(message,
            "config.json: got 2 problems:\n"
            "  config.json: field 'logit_softcap': got 30.0; needed a field that is implemented or known to "
            "be harmless. "
            "Fix: a field we do not know could change the model; remove it from the file if it does not\n"
            "  config.json: field 'my_trick': got [1,2]; needed a field that is implemented or known to be "
            "harmless. "
            "Fix: a field we do not know could change the model; remove it from the file if it does not");
  // A field of one family is unknown to another.
  EXPECT_THAT(refused(fixtures::kLlamaUntied, {{"sliding_window", 16}}),
              HasSubstr("field 'sliding_window': got 16"));
  EXPECT_THAT(refused(fixtures::kGpt2Tied, {{"rope_theta", 1e4}}), HasSubstr("field 'rope_theta'"));
  EXPECT_THAT(refused(fixtures::kQwen2Tied, {{"attention_bias", true}}), HasSubstr("field 'attention_bias'"));
}

TEST(HfConfig, ManyUnknownFieldsAreCutShort) {
  Json many;
  for (int i = 0; i < 5000; ++i) many["unknown_" + std::to_string(i)] = std::string(500, 'y');
  const std::string message = refused(fixtures::kLlamaUntied, many);
  EXPECT_THAT(message, HasSubstr("\n  and 4980 more"));
  EXPECT_LT(message.size(), 10000u);
}

TEST(HfConfig, HarmlessFieldsDoNotMatter) {
  const Json harmless = {{"_name_or_path", "x"},
                         {"dtype", "bfloat16"},
                         {"torch_dtype", "float16"},
                         {"use_cache", false},
                         {"bos_token_id", 5},
                         {"eos_token_id", {1, 2}},
                         {"pad_token_id", -1},
                         {"temperature", 0.6},
                         {"top_p", 0.9},
                         {"max_length", 4096},
                         {"id2label", {{"0", "LABEL_0"}}},
                         {"torchscript", false},
                         {"transformers_version", "4.20.0"},
                         {"output_attentions", false},
                         {"is_decoder", true},
                         {"quantization_config", nullptr},
                         {"pruned_heads", Json::object()},
                         {"auto_map", nullptr}};
  EXPECT_EQ(import_changed(fixtures::kLlamaUntied, harmless), expected_llama());
  EXPECT_EQ(import_changed(fixtures::kGpt2Tied, {{"reorder_and_upcast_attn", true}}), expected_gpt2());
}

TEST(HfConfig, ValuesWeDoNotImplementAreNamed) {
  const auto names_it = [](std::string_view text, const char* key, const Json& value) {
    EXPECT_THAT(
        refused(text, {{key, value}}),
        AllOf(HasSubstr("config.json: field '" + std::string(key) + "'"), Not(HasSubstr("problems"))));
  };
  names_it(fixtures::kGpt2Tied, "scale_attn_weights", false);
  names_it(fixtures::kGpt2Tied, "scale_attn_by_inverse_layer_idx", true);
  names_it(fixtures::kGpt2Tied, "add_cross_attention", true);
  names_it(fixtures::kGpt2Tied, "activation_function", "quick_gelu");
  names_it(fixtures::kGpt2Tied, "activation_function", "relu");
  names_it(fixtures::kGpt2Tied, "n_ctx", 32);
  names_it(fixtures::kGpt2Tied, "embd_pdrop", 0.2);
  names_it(fixtures::kLlamaUntied, "hidden_act", "relu");
  names_it(fixtures::kLlamaUntied, "pretraining_tp", 2);
  names_it(fixtures::kLlamaUntied, "partial_rotary_factor", 0.5);
  names_it(fixtures::kLlamaUntied, "is_encoder_decoder", true);
  names_it(fixtures::kLlamaUntied, "quantization_config", {{"bits", 4}});
  names_it(fixtures::kLlamaUntied, "auto_map", {{"AutoModel", "modeling.Mine"}});
  names_it(fixtures::kLlamaUntied, "pruned_heads", {{"0", {1}}});
  names_it(fixtures::kLlamaUntied, "per_layer_config", {{"0", {{"hidden_size", 16}}}});
  names_it(fixtures::kLlamaUntied, "architectures", {"LlamaForSequenceClassification"});
  names_it(fixtures::kQwen2Tied, "use_mrope", true);
  EXPECT_THAT(refused(fixtures::kLlamaUntied, {{"attention_bias", true}}),
              HasSubstr("field 'mlp_bias': got false; needed the value of attention_bias"));
  EXPECT_THAT(refused(fixtures::kLlamaUntied, {{"mlp_bias", true}, {"attention_bias", "remove"}}),
              HasSubstr("'mlp_bias'"));
}

TEST(HfConfig, ActivationsByTheirNames) {
  const auto gpt2 = [](const char* name) {
    return import_changed(fixtures::kGpt2Tied, {{"activation_function", name}}).activation;
  };
  EXPECT_EQ(gpt2("gelu"), ActivationKind::kGelu);
  EXPECT_EQ(gpt2("gelu_pytorch_tanh"), ActivationKind::kGeluTanh);
  EXPECT_EQ(gpt2("gelu_fast"), ActivationKind::kGeluTanh);
  EXPECT_EQ(gpt2("relu2"), ActivationKind::kSquaredRelu);
  const auto llama = [](const char* name) {
    return import_changed(fixtures::kLlamaUntied, {{"hidden_act", name}}).activation;
  };
  EXPECT_EQ(llama("swish"), ActivationKind::kSwiglu);
  EXPECT_EQ(llama("gelu_pytorch_tanh"), ActivationKind::kGeglu);  // ours is the tanh form
  EXPECT_THAT(refused(fixtures::kLlamaUntied, {{"hidden_act", "gelu"}}),
              HasSubstr("field 'hidden_act': got \"gelu\""));
}

TEST(HfConfig, RotarySettingsInBothSpellings) {
  const auto with = [](const Json& changes) {
    Json all = {{"rope_parameters", "remove"}};
    all.update(changes);
    return import_changed(fixtures::kLlamaUntied, all);
  };
  EXPECT_EQ(with({{"rope_theta", 5e5}}).rotary_base, 5e5);
  EXPECT_EQ(with({{"rope_theta", 5e5}, {"rope_scaling", nullptr}}).rope_scaling, RopeScalingKind::kNone);
  const ModelConfig linear =
      with({{"rope_theta", 5e5}, {"rope_scaling", {{"type", "linear"}, {"factor", 4}}}});
  EXPECT_EQ(linear.rope_scaling, RopeScalingKind::kLinear);
  EXPECT_EQ(linear.rope_scaling_factor, 4.0);
  EXPECT_EQ(linear.rotary_base, 5e5);
  // Without its own value llama3 stretches from max_position_embeddings, as transformers does.
  const Json rule = {{"rope_type", "llama3"}, {"factor", 8}, {"low_freq_factor", 1}, {"high_freq_factor", 4}};
  EXPECT_EQ(with({{"rope_scaling", rule}}).rope_original_max_position, 128);
  EXPECT_EQ(with({{"rope_scaling", rule}, {"rope_parameters", rule}}).rope_scaling, RopeScalingKind::kLlama3);
}

TEST(HfConfig, RotaryRulesWeDoNotImplementAreNamed) {
  const auto rope = [](const Json& dictionary) {
    return refused(fixtures::kLlamaUntied, {{"rope_parameters", dictionary}});
  };
  for (const char* type : {"dynamic", "yarn", "longrope", "mrope", "proportional"}) {
    EXPECT_THAT(
        rope({{"rope_type", type},
              {"factor", 2.0},
              {"original_max_position_embeddings", 64},
              {"rope_theta", 1e4}}),
        AllOf(HasSubstr("field 'rope_parameters.rope_type'"), HasSubstr("needed default, linear or llama3"),
              HasSubstr("scaling rule '" + std::string(type) + "' is not implemented"),
              Not(HasSubstr("problems"))));
  }
  EXPECT_THAT(refused(fixtures::kMistral,
                      {{"rope_parameters", "remove"}, {"rope_scaling", {{"type", "yarn"}, {"factor", 4}}}}),
              HasSubstr("field 'rope_scaling.type': got \"yarn\""));
  EXPECT_THAT(rope({{"rope_type", "linear"}}),
              HasSubstr("field 'rope_parameters.factor': got no such field"));
  EXPECT_THAT(rope({{"rope_type", "default"}, {"factor", 2.0}}),
              HasSubstr("field 'rope_parameters.factor': got 2.0"));
  EXPECT_THAT(rope({{"rope_type", "default"}, {"type", "linear"}}),
              HasSubstr("field 'rope_parameters.type'"));
  EXPECT_THAT(rope({{"partial_rotary_factor", 0.5}}),
              HasSubstr("field 'rope_parameters.partial_rotary_factor': got 0.5"));
  EXPECT_THAT(rope({{"full_attention", {{"rope_type", "default"}}}}),
              HasSubstr("field 'rope_parameters.full_attention'"));
  EXPECT_THAT(refused(fixtures::kLlamaUntied, {{"rope_theta", 5e5}}),
              HasSubstr("field 'rope_theta': got 500000.0; needed the rope_theta inside rope_parameters"));
  EXPECT_THAT(refused(fixtures::kLlamaUntied, {{"rope_scaling", {{"type", "linear"}, {"factor", 2}}}}),
              HasSubstr("field 'rope_parameters'"));
}

TEST(HfConfig, OtherArchitecturesAreNamed) {
  EXPECT_EQ(
      refused(fixtures::kLlamaUntied, {{"model_type", "gemma3"}}),
      "config.json: field 'model_type': got \"gemma3\"; needed one of gpt2, llama, mistral, qwen2, mamba, "
      "mamba2, nemotron_h. Fix: other architectures are not implemented; check that this is a model's "
      "config.json");
  EXPECT_THAT(refused(fixtures::kLlamaUntied, {{"model_type", "remove"}}), HasSubstr("got no such field"));
  EXPECT_THAT(message_of([] { import_text("[1, 2]"); }), HasSubstr("got JSON that is no object"));
}

TEST(HfConfig, ImpossibleSizesAreReportedWithTheFile) {
  EXPECT_THAT(refused(fixtures::kLlamaUntied, {{"num_key_value_heads", 3}}),
              HasSubstr("config.json: model.num_query_groups: got 3 groups for 4 heads"));
  EXPECT_THAT(refused(fixtures::kGpt2Tied, {{"n_head", 5}}),
              HasSubstr("config.json: model.num_attention_heads"));
  EXPECT_THAT(refused(fixtures::kGpt2Tied, {{"n_layer", -1}}), HasSubstr("model.num_layers: got -1"));
}

// Any field of any fixture replaced by anything: a valid model or an Error, never a crash; a model that is accepted
// survives being written and read.
TEST(HfConfigFuzz, AnyValueIsAModelOrAnError) {
  std::mt19937 random(5);
  const std::vector<Json> values = {nullptr,
                                    true,
                                    false,
                                    0,
                                    1,
                                    2,
                                    -1,
                                    7,
                                    std::numeric_limits<int64_t>::max(),
                                    std::numeric_limits<int64_t>::min(),
                                    std::numeric_limits<uint64_t>::max(),
                                    0.0,
                                    0.5,
                                    -1e300,
                                    1e300,
                                    "",
                                    "silu",
                                    "gelu",
                                    "llama",
                                    "linear",
                                    Json::array(),
                                    Json::object(),
                                    {"full_attention", "sliding_attention"},
                                    {{"rope_type", "linear"}, {"factor", 2}},
                                    {{"type", "llama3"}, {"factor", "x"}}};
  int accepted = 0;
  int refused_count = 0;
  for (int round = 0; round < 20000; ++round) {
    const std::string_view texts[] = {fixtures::kGpt2Untied, fixtures::kLlama3Old, fixtures::kMistral,
                                      fixtures::kQwen2Window};
    Json json = parse(texts[random() % 4]);
    for (size_t changes = 1 + random() % 3; changes > 0; --changes) {
      auto it = json.begin();
      std::advance(it, static_cast<long>(random() % json.size()));
      *it = values[random() % values.size()];
    }
    try {
      const ModelConfig config = model_config_from_hf(json, "config.json");
      const HfFamily family = hf_family_of(json, "config.json");
      if (config.hidden_size % config.num_attention_heads == 0) {
        ASSERT_EQ(model_config_from_hf(hf_config_from_model(config, family), "written"), config) << json;
      }
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
