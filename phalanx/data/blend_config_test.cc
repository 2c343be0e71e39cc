#include "phalanx/data/blend_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/config/config_toml.h"
#include "phalanx/config/config_tree.h"

namespace phalanx {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

using Words = std::vector<std::string>;

std::string error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& e) {
    EXPECT_NE(e.kind(), ErrorKind::kUsage);
    return e.what();
  }
  return "(no error)";
}
std::string error_of_words(const Words& words) {
  return error_of([&] { parse_blend(words, "data.data_path"); });
}

TEST(BlendConfig, PrefixesWithAndWithoutWeights) {
  EXPECT_THAT(parse_blend(Words{"a"}, "x").prefixes, ElementsAre("a"));
  EXPECT_THAT(parse_blend(Words{"a"}, "x").weights, IsEmpty());
  const Blend weighted = parse_blend(Words{"0.3", " a ", "+7e-1", "b"}, "x");
  EXPECT_THAT(weighted.prefixes, ElementsAre("a", "b"));
  EXPECT_THAT(weighted.weights, ElementsAre(0.3, 0.7));
  for (const Words& words : {Words{"a", "b"}, Words{"a", "b", "c"}, Words{"a", "2", "b", "3"}}) {
    const Blend plain = parse_blend(words, "x");
    EXPECT_EQ(plain.prefixes, words);
    EXPECT_THAT(plain.weights, IsEmpty());
  }
  // An odd number of words is prefixes alone, whatever they look like.
  EXPECT_THAT(parse_blend(Words{"1", "2", "3"}, "x").prefixes, ElementsAre("1", "2", "3"));
  EXPECT_THAT(parse_blend(Words{}, "x").prefixes, IsEmpty());
}

TEST(BlendConfig, WeightsThatAreNone) {
  EXPECT_THAT(error_of_words({"0.3", "a", "b", "c"}),
              HasSubstr("data.data_path, entry 3: got 'b'; needed a weight for 'c'. Fix: write weights and"));
  EXPECT_THAT(error_of_words({"x.3", "a", "0.7", "c"}),
              HasSubstr("entry 1: got 'x.3'; needed a weight for 'a'"));
  EXPECT_THAT(error_of_words({"0.3", "a", "0.7x", "c"}), HasSubstr("entry 3: got '0.7x'; needed a weight"));
  EXPECT_THAT(error_of_words({"-1", "a", "2", "c"}),
              HasSubstr("entry 1: got weight '-1'; needed a positive finite number"));
  EXPECT_THAT(error_of_words({"1", "a", "0", "c"}),
              HasSubstr("entry 3: got weight '0'; needed a positive finite number. Fix: leave 'c' out"));
  EXPECT_THAT(error_of_words({"0", "a", "0.0", "c"}), HasSubstr("entry 1: got weight '0'"));
  EXPECT_THAT(error_of_words({"1", "a", "nan", "c"}), HasSubstr("entry 3: got weight 'nan'"));
  EXPECT_THAT(error_of_words({"inf", "a"}), HasSubstr("entry 1: got weight 'inf'"));
  EXPECT_THAT(error_of_words({"1e999", "a"}), HasSubstr("entry 1: got weight '1e999'"));
  EXPECT_THAT(error_of_words({"1e308", "a", "1e308", "b"}), HasSubstr("got weights with the sum inf"));
  EXPECT_THAT(error_of_words({"1", " "}), HasSubstr("entry 2: got ' '; needed the prefix"));
  EXPECT_THAT(error_of_words({""}), HasSubstr("entry 1: got ''; needed the prefix"));
}

TEST(BlendConfig, WordsInAFile) {
  const TemporaryDirectory folder;
  const std::string path = folder.path() + "/blend.txt";
  write_file_atomic(path, "0.25 a\n\t0.75  data/b\r\n");
  EXPECT_THAT(read_blend_words(path), ElementsAre("0.25", "a", "0.75", "data/b"));
  DataConfig config;
  config.data_args_path = path;
  const PartData data = data_of_part(config, SplitPart::kValid);
  EXPECT_TRUE(data.cut);
  EXPECT_THAT(data.blend.weights, ElementsAre(0.25, 0.75));
  write_file_atomic(path, " \n");
  EXPECT_THAT(error_of([&] { read_blend_words(path); }), HasSubstr("/blend.txt: got a file without words"));
  EXPECT_THAT(error_of([&] { read_blend_words(path + ".no"); }), HasSubstr("blend.txt.no"));
}

TEST(BlendConfig, AFileOfThreeBlends) {
  const TemporaryDirectory folder;
  const std::string path = folder.path() + "/blend.json";
  const auto error_of_file = [&](const std::string& text) {
    write_file_atomic(path, text);
    return error_of([&] { read_split_blend_words(path); });
  };
  EXPECT_EQ(error_of_file(R"({"train": [0.5, "a", "2", "b"], "valid": ["c"], "test": null})"), "(no error)");
  DataConfig config;
  config.per_split_data_args_path = path;
  EXPECT_TRUE(names_data(config));
  const PartData train = data_of_part(config, SplitPart::kTrain);
  EXPECT_FALSE(train.cut);
  EXPECT_THAT(train.blend.prefixes, ElementsAre("a", "b"));
  EXPECT_THAT(train.blend.weights, ElementsAre(0.5, 2.0));
  EXPECT_THAT(data_of_part(config, SplitPart::kValid).blend.prefixes, ElementsAre("c"));
  EXPECT_THAT(data_of_part(config, SplitPart::kTest).blend.prefixes, IsEmpty());
  EXPECT_THAT(error_of_file(R"({"train": ["a"], "validation": ["c"]})"),
              HasSubstr("got the key 'validation'; needed train, valid and test"));
  EXPECT_THAT(error_of_file(R"({"train": "a"})"), HasSubstr("blend.json: train: got \"a\"; needed a list"));
  EXPECT_THAT(error_of_file(R"({"train": [["a"]]})"),
              HasSubstr("got [\"a\"]; needed a list of weights and prefixes"));
  EXPECT_THAT(error_of_file(R"(["a"])"), HasSubstr("got JSON of another kind"));
  EXPECT_THAT(error_of_file(R"({"train": )"), HasSubstr("blend.json"));
}

TEST(BlendConfig, TheRecipeHasFifteenWeightsThatSumToOne) {
  DataConfig config;
  ConfigTree tree;
  tree.add_section("data", config);
  apply_toml_file(tree, std::string(PHALANX_SOURCE_DIR) + "/recipes/mt_nlg_blend.toml", Origin::kFile);
  const PartData data = data_of_part(config, SplitPart::kTrain);
  EXPECT_TRUE(data.cut);
  EXPECT_THAT(data.blend.weights,
              ElementsAre(0.14336, 0.19336, 0.05689, 0.02897, 0.04771, 0.00873, 0.01007, 0.00208, 0.01359,
                          0.01588, 0.09446, 0.13017, 0.15652, 0.08962, 0.00859));
  double sum = 0;
  for (const double weight : data.blend.weights) sum += weight;
  EXPECT_NEAR(sum, 1.0, 1e-4);
  EXPECT_EQ(data.blend.prefixes[4], "wikipedia_text_document");
}

TEST(BlendConfig, OneWayToNameTheData) {
  DataConfig config;
  EXPECT_FALSE(names_data(config));
  config.valid_data_path = {"2", "v", "1", "w"};
  EXPECT_TRUE(names_data(config));
  EXPECT_THAT(data_of_part(config, SplitPart::kTrain).blend.prefixes, IsEmpty());
  EXPECT_THAT(data_of_part(config, SplitPart::kValid).blend.prefixes, ElementsAre("v", "w"));
  config.valid_data_path = {"2", "v", "x", "w"};
  EXPECT_THAT(error_of([&] { data_of_part(config, SplitPart::kValid); }),
              HasSubstr("data.valid_data_path, entry 3: got 'x'"));
  config.data_path = {"a"};
  EXPECT_THAT(
      error_of([&] { names_data(config); }),
      HasSubstr("data: got both data.data_path and data.train_data_path, valid_data_path or test_data_path; "
                "needed one of them"));
  config = {};
  config.data_path = {"a"};
  config.data_args_path = "b";
  EXPECT_THAT(error_of([&] { data_of_part(config, SplitPart::kTrain); }),
              HasSubstr("got both data.data_path and data.data_args_path"));
}

}  // namespace
}  // namespace phalanx
