#include "phalanx/checkpoint/hf_folder.h"

#include <ATen/ATen.h>

#include "phalanx/checkpoint/test_folders.h"

namespace phalanx {
namespace {

using ::testing::AllOf;
using testing::copy_fixture;
using testing::edit_json;
using testing::error_of;
using testing::fixture;
using ::testing::HasSubstr;
using testing::same_bits;

class HfFolderTest : public ::testing::Test {
 protected:
  // The message of opening a fixture after a change to its files.
  std::string refused(const std::string& name, const std::function<void(const std::string& folder)>& change) {
    const std::string folder = copy_fixture(name, directory_.path());
    change(folder);
    const Error error = error_of([&] { HfFolder opened(folder); });
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    return error.what();
  }

  std::string refused_config(const std::string& name, const std::function<void(Json&)>& edit) {
    return refused(name, [&](const std::string& folder) { edit_json(folder + "/config.json", edit); });
  }

  std::string refused_index(const std::function<void(Json&)>& edit) {
    return refused("llama_sharded",
                   [&](const std::string& folder) { edit_json(folder + "/" + kHfIndexName, edit); });
  }

  TemporaryDirectory directory_;
};

// The file again, each tensor passed through `change`.
void rewrite(const std::string& path,
             const std::function<Tensor(const std::string&, const Tensor&)>& change) {
  std::vector<std::pair<std::string, Tensor>> tensors;
  {
    const SafetensorsFile file(path);
    for (const SafetensorsEntry& entry : file.header().entries) {
      const Tensor stored = tensor_over(file.bytes(entry), entry.dtype, entry.shape);
      tensors.emplace_back(entry.name, change(entry.name, stored).clone());
    }
  }
  std::vector<SafetensorsDeclaration> declarations;
  for (const auto& [name, tensor] : tensors) {
    declarations.push_back({name, file_dtype_of(tensor.scalar_type()), tensor.sizes().vec()});
  }
  SafetensorsWriter writer(path, std::move(declarations));
  for (const auto& [name, tensor] : tensors) writer.write(name, bytes_of(tensor.contiguous()));
  writer.commit();
}

TEST_F(HfFolderTest, Gpt2TensorsComeTransposedAndCutIntoRows) {
  const HfFolder folder(fixture("gpt2"));
  EXPECT_EQ(folder.family(), HfFamily::kGpt2);
  EXPECT_EQ(folder.dtype(), at::kFloat);
  const Tensor c_attn = folder.files().tensor("transformer.h.1.attn.c_attn.weight");
  EXPECT_EQ(c_attn.sizes().vec(), (Shape{32, 96}));
  EXPECT_TRUE(same_bits(folder.tensor("layers.2.attention.q.weight"), c_attn.narrow(1, 0, 32).t()));
  EXPECT_TRUE(same_bits(folder.tensor("layers.2.attention.v.weight"), c_attn.narrow(1, 64, 32).t()));
  EXPECT_EQ(folder.token_ids(), Json({{"bos_token_id", 0}, {"eos_token_id", 0}, {"pad_token_id", nullptr}}));
  EXPECT_TRUE(folder.generation_config().is_object());
  EXPECT_TRUE(HfFolder(fixture("gpt2_hub")).generation_config().is_null());
}

TEST_F(HfFolderTest, ShardsHoldTheSameTensorsAsOneFile) {
  const HfFolder one(fixture("llama_gqa"));
  const HfFolder many(fixture("llama_sharded"));
  EXPECT_EQ(many.files().files().size(), 4U);
  EXPECT_EQ(many.config(), one.config());
  for (const LogicalTensor* tensor : one.table().logical_tensors()) {
    EXPECT_TRUE(same_bits(one.tensor(tensor->name), many.tensor(tensor->name))) << tensor->name;
  }
}

TEST_F(HfFolderTest, LooksLikeTellsItFromACheckpoint) {
  EXPECT_TRUE(HfFolder::looks_like(fixture("gpt2")));
  EXPECT_FALSE(HfFolder::looks_like(directory_.path()));
  const std::string folder = copy_fixture("gpt2", directory_.path());
  testing::write_text(folder + "/manifest.json", "{}");
  EXPECT_FALSE(HfFolder::looks_like(folder));
}

TEST_F(HfFolderTest, EveryParameterOfAModelIsFilledInItsDtype) {
  const HfFolder folder(fixture("qwen2"));
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble, at::kBFloat16}) {
    testing::TestModel holder(folder.config(), dtype);
    for (Parameter* parameter : holder.model.parameters()) parameter->data.fill_(99);
    load_hf_weights(folder, holder.model);
    for (const Parameter* parameter : holder.model.parameters()) {
      for (const Segment& segment : parameter->segments) {
        EXPECT_TRUE(
            same_bits(view_of(parameter->data, segment.local_box), folder.tensor(segment.name).to(dtype)))
            << segment.name;
      }
    }
  }
}

TEST_F(HfFolderTest, AnotherModelIsNotFilled) {
  const HfFolder folder(fixture("llama_gqa"));
  ModelConfig wide = folder.config();
  wide.ffn_hidden_size = 80;
  testing::TestModel other(wide);
  EXPECT_THAT(error_of([&] { load_hf_weights(folder, other.model); }).what(),
              HasSubstr("logical tensor layers.1.mlp.gate.weight: got [64, 32]; needed [80, 32]"));
  ModelConfig biased = folder.config();
  biased.qkv_bias = true;
  testing::TestModel more(biased);
  EXPECT_THAT(error_of([&] { load_hf_weights(folder, more.model); }).what(),
              HasSubstr("logical tensor layers.0.attention.q.bias: got no such tensor; needed [32]"));
  ModelConfig tied = folder.config();
  tied.tied_embeddings = true;
  testing::TestModel fewer(tied);  // would drop the folder's head
  EXPECT_THAT(error_of([&] { load_hf_weights(folder, fewer.model); }).what(),
              HasSubstr("got 21 logical tensors; needed the model's 20"));
}

TEST_F(HfFolderTest, ATiedHeadThatIsStoredMustBeTheEmbedding) {
  const std::string folder = copy_fixture("llama_gqa", directory_.path());
  const Tensor embedding = HfFolder(folder).tensor("embedding.token.weight").clone();
  edit_json(folder + "/config.json", [](Json& json) { json["tie_word_embeddings"] = true; });
  const auto store_head = [&](const Tensor& head) {
    rewrite(folder + "/model.safetensors", [&](const std::string& name, const Tensor& stored) {
      return name == "lm_head.weight" ? head : stored;
    });
  };
  store_head(embedding);
  const HfFolder good(folder);
  EXPECT_FALSE(good.contains("head.weight"));
  good.check_tied_head();
  Tensor other = embedding.clone();
  other[3][1] += 1e-6;
  store_head(other);
  const HfFolder bad(folder);
  testing::TestModel holder(bad.config());
  const Error error = error_of([&] { load_hf_weights(bad, holder.model); });
  EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
  EXPECT_THAT(
      error.what(),
      AllOf(HasSubstr(
                "tensor lm_head.weight: got values that differ from the token embedding in 1 of 128 rows"),
            HasSubstr("\"tie_word_embeddings\": false")));
}

TEST_F(HfFolderTest, MixedDtypesTakeTheNarrowestThatHoldsAll) {
  const std::string folder = copy_fixture("llama3_hub", directory_.path());
  EXPECT_EQ(HfFolder(folder).dtype(), at::kBFloat16);
  rewrite(folder + "/model.safetensors", [](const std::string& name, const Tensor& stored) {
    return name == "model.norm.weight" ? stored.to(at::kHalf) : stored;
  });
  EXPECT_EQ(HfFolder(folder).dtype(), at::kFloat);
}

TEST_F(HfFolderTest, QuantizedWeightsAreRefusedByName) {
  EXPECT_THAT(
      refused("llama_gqa",
              [](const std::string& folder) {
                rewrite(folder + "/model.safetensors", [](const std::string& name, const Tensor& stored) {
                  return name == "model.norm.weight" ? stored.to(at::kChar) : stored;
                });
              }),
      AllOf(HasSubstr("tensor model.norm.weight: got elements of I8"), HasSubstr("unquantized model")));
}

TEST_F(HfFolderTest, OtherFormatsAreNamedWithTheWayOut) {
  const auto only = [](const std::string& name) {
    return [name](const std::string& folder) {
      for (const std::string& file : names_in(folder)) {
        if (file.ends_with(".safetensors")) std::filesystem::remove(folder + "/" + file);
      }
      if (!name.empty()) testing::write_text(folder + "/" + name, "x");
    };
  };
  EXPECT_THAT(refused("gpt2", only("pytorch_model.bin")),
              AllOf(HasSubstr("got pytorch_model.bin, which does not hold a model"),
                    HasSubstr("convert to safetensors")));
  std::filesystem::remove_all(directory_.path() + "/gpt2");
  EXPECT_THAT(refused("gpt2", only("adapter_model.safetensors")),
              HasSubstr("got adapter_model.safetensors, which does not"));
  std::filesystem::remove_all(directory_.path() + "/gpt2");
  EXPECT_THAT(refused("gpt2", only("model-00001-of-00002.safetensors")),
              HasSubstr("got model-00001-of-00002.safetensors without model.safetensors.index.json"));
  std::filesystem::remove_all(directory_.path() + "/gpt2");
  EXPECT_THAT(refused("gpt2", only("")), HasSubstr("got no weights; needed model.safetensors, or"));
}

TEST_F(HfFolderTest, AGitLfsPointerIsRecognised) {
  EXPECT_THAT(refused("gpt2",
                      [](const std::string& folder) {
                        testing::write_text(folder + "/model.safetensors",
                                            "version https://git-lfs.github.com/spec/v1\n");
                      }),
              AllOf(HasSubstr("model.safetensors: got a Git LFS pointer"), HasSubstr("git lfs pull")));
}

TEST_F(HfFolderTest, AFolderWithoutConfigOrNoFolderAtAllIsNamed) {
  EXPECT_THAT(error_of([&] { HfFolder folder(directory_.path()); }).what(),
              HasSubstr("got no config.json in it"));
  EXPECT_THAT(error_of([&] { HfFolder folder(directory_.path() + "/none"); }).what(),
              HasSubstr("got no such folder"));
}

TEST_F(HfFolderTest, AHostileIndexIsRefused) {
  EXPECT_THAT(refused_index([](Json& json) { json["weight_map"] = Json::array({1}); }),
              HasSubstr("weight_map"));
  std::filesystem::remove_all(directory_.path() + "/llama_sharded");
  EXPECT_THAT(refused_index([](Json& json) { json.erase("weight_map"); }), HasSubstr("weight_map"));
  std::filesystem::remove_all(directory_.path() + "/llama_sharded");
  EXPECT_THAT(
      refused_index([](Json& json) { json["weight_map"]["lm_head.weight"] = "../../secret.safetensors"; }),
      AllOf(HasSubstr("tensor 'lm_head.weight': got the file '../../secret.safetensors'"),
            HasSubstr("beside the index")));
  std::filesystem::remove_all(directory_.path() + "/llama_sharded");
  EXPECT_THAT(refused_index([](Json& json) { json["weight_map"]["lm_head.weight"] = 7; }),
              HasSubstr("got 7; needed the name of a file"));
  std::filesystem::remove_all(directory_.path() + "/llama_sharded");
  EXPECT_THAT(
      refused_index(
          [](Json& json) { json["weight_map"]["model.norm.weight"] = "model-00001-of-00004.safetensors"; }),
      HasSubstr("tensor 'model.norm.weight': got no such tensor in model-00001-of-00004.safetensors"));
  std::filesystem::remove_all(directory_.path() + "/llama_sharded");
  EXPECT_THAT(refused("llama_sharded",
                      [](const std::string& folder) {
                        testing::write_text(folder + "/" + kHfIndexName, "{\"weight_map\": {");
                      }),
              HasSubstr(kHfIndexName));
}

TEST_F(HfFolderTest, AMissingTruncatedOrDoubledShardIsNamed) {
  const std::string third = "/model-00003-of-00004.safetensors";
  EXPECT_THAT(
      refused("llama_sharded", [&](const std::string& folder) { std::filesystem::remove(folder + third); }),
      AllOf(HasSubstr("got the file 'model-00003-of-00004.safetensors', which is not there"),
            HasSubstr("fetch the missing shard")));
  std::filesystem::remove_all(directory_.path() + "/llama_sharded");
  EXPECT_THAT(refused("llama_sharded",
                      [&](const std::string& folder) {
                        std::filesystem::resize_file(folder + third,
                                                     std::filesystem::file_size(folder + third) - 100);
                      }),
              AllOf(HasSubstr(third), HasSubstr("cut short")));
  std::filesystem::remove_all(directory_.path() + "/llama_sharded");
  EXPECT_THAT(refused("llama_sharded",
                      [&](const std::string& folder) {
                        std::filesystem::copy_file(folder + third, folder + "/again.safetensors");
                        edit_json(folder + "/" + kHfIndexName, [](Json& json) {
                          json["weight_map"]["model.layers.1.mlp.up_proj.weight"] = "again.safetensors";
                        });
                      }),
              HasSubstr("got a second copy, the first is in"));
}

TEST_F(HfFolderTest, WhatWeDoNotImplementIsRefusedBeforeAnyWeightIsRead) {
  EXPECT_THAT(refused_config("llama_gqa", [](Json& json) { json["model_type"] = "falcon"; }),
              AllOf(HasSubstr("config.json: field 'model_type': got \"falcon\""),
                    HasSubstr("gpt2, llama, mistral, qwen2, mamba")));
  std::filesystem::remove_all(directory_.path() + "/llama_gqa");
  EXPECT_THAT(refused_config("llama_gqa", [](Json& json) { json["logit_softcapping"] = 30.0; }),
              AllOf(HasSubstr("field 'logit_softcapping': got 30.0"), HasSubstr("could change the model")));
  std::filesystem::remove_all(directory_.path() + "/llama_gqa");
  EXPECT_THAT(
      refused_config(
          "llama_gqa",
          [](Json& json) {
            json["rope_parameters"] = {{"rope_type", "yarn"}, {"factor", 4.0}, {"rope_theta", 10000.0}};
          }),
      AllOf(HasSubstr("field 'rope_parameters.rope_type': got \"yarn\""),
            HasSubstr("scaling rule 'yarn' is not implemented")));
}

}  // namespace
}  // namespace phalanx
