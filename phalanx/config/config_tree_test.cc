#include "phalanx/config/config_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "phalanx/config/config_json.h"
#include "phalanx/config/config_print.h"
#include "phalanx/config/test_sections.h"

namespace phalanx {
namespace {

using config_testing::error_text;
using config_testing::Kind;
using config_testing::SmallRun;
using testing::HasSubstr;

const ValueSource kHere{.where = "here"};

TEST(ConfigTree, FindsAndSetsFieldsOfTheStructs) {
  SmallRun run;
  EXPECT_EQ(run.tree.keys().size(), 13u);
  EXPECT_EQ(run.tree.keys().front(), "every.truth");
  EXPECT_EQ(run.tree.find("every.none"), nullptr);
  EXPECT_EQ(run.tree.find("lr"), nullptr);
  run.tree.set_text("other.lr", "0.5", Origin::kFlag, kHere);
  EXPECT_EQ(run.other.lr, 0.5);
  EXPECT_EQ(run.tree.text("other.lr"), "0.5");
  EXPECT_EQ(run.tree.at("other.lr").origin, Origin::kFlag);
  EXPECT_EQ(run.tree.at("other.bias").origin, Origin::kDefault);
}

TEST(ConfigTree, HigherOriginWinsInWhateverOrder) {
  const std::vector<Origin> origins = {Origin::kMegatron, Origin::kRecipe, Origin::kFile, Origin::kFlag};
  for (const Origin first : origins) {
    for (const Origin second : origins) {
      SmallRun run;
      run.tree.set_text("other.hidden_size", "1", first, kHere);
      run.tree.set_text("other.hidden_size", "2", second, kHere);
      const bool second_wins = second >= first;  // among equals the later one
      EXPECT_EQ(run.other.hidden_size, second_wins ? 2 : 1);
      EXPECT_EQ(run.tree.at("other.hidden_size").origin, std::max(first, second));
    }
  }
}

TEST(ConfigTree, AValueThatLosesIsCheckedAllTheSame) {
  SmallRun run;
  run.tree.set_text("every.sizes", "4,5", Origin::kFlag, kHere);
  EXPECT_THAT(
      error_text(ErrorKind::kBadInput,
                 [&] { run.tree.set_text("every.sizes", "x", Origin::kFile, {.where = "f.toml:1:1"}); }),
      HasSubstr("f.toml:1:1: got 'x'; needed a list of integers"));
  EXPECT_EQ(run.every.sizes, (std::vector<int64_t>{4, 5}));
}

TEST(ConfigTree, UnknownNamesSuggestTheNearest) {
  SmallRun run;
  const auto refused = [&](const std::string& key) {
    return error_text(ErrorKind::kBadInput,
                      [&] { run.tree.set_text(key, "1", Origin::kFile, {.where = key}); });
  };
  EXPECT_EQ(refused("othr.lr"),
            "othr.lr: got unknown section 'othr'; needed one of: every, other. Fix: did you mean "
            "'other'?");
  EXPECT_EQ(refused("qqqqqq.lr"), "qqqqqq.lr: got unknown section 'qqqqqq'; needed one of: every, other");
  EXPECT_EQ(
      refused("other.hiden_size"),
      "other.hiden_size: got unknown key 'hiden_size'; needed a key of section 'other'. Fix: did you mean "
      "'other.hidden_size'?");
  EXPECT_EQ(refused("other.count"),
            "other.count: got unknown key 'count'; needed a key of section 'other'. Fix: did "
            "you mean 'every.count'?");
  EXPECT_EQ(
      refused("other.zzzzzz"),
      "other.zzzzzz: got unknown key 'zzzzzz'; needed a key of section 'other'. Fix: --help lists the keys");
}

TEST(ConfigTreeDeathTest, NamesAreUnique) {
  SmallRun run;
  config_testing::Other again;
  EXPECT_DEATH(run.tree.add_section("other", again), "section 'other' is added once");
  std::vector<FieldRef> twice = collect_fields(again);
  twice.push_back(twice.front());
  EXPECT_DEATH(run.tree.add_fields("third", twice), "third.lr is one field");
}

TEST(ConfigJson, RoundTripsEveryKindOfField) {
  SmallRun from;
  from.every.rate = 0.1 + 0.2;
  from.every.label = "quote \" and \n newline";
  from.every.paths = {"a,b", "c"};
  from.every.weights = {1.0, 1e300};
  from.every.limit = 4;
  from.every.scale = std::nullopt;
  from.every.kind = Kind::kFancy;
  const std::string text = to_json(from.tree).dump();
  SmallRun to;
  apply_json(to.tree, parse_json(text, "meta.json"), "meta.json", Origin::kFile);
  EXPECT_EQ(to_json(to.tree).dump(), text);
  EXPECT_EQ(to.every.rate, from.every.rate);
  EXPECT_EQ(to.every.scale, std::nullopt);
  EXPECT_EQ(to.every.kind, Kind::kFancy);
  EXPECT_EQ(to.every.paths, from.every.paths);
  EXPECT_EQ(to.tree.at("every.rate").origin, Origin::kFile);
}

TEST(ConfigJson, ChangedFieldsOnly) {
  SmallRun run;
  EXPECT_EQ(to_json(run.tree, ConfigScope::kChanged).dump(), "{}");
  run.other.hidden_size = 16;
  run.every.limit = 3;
  EXPECT_EQ(to_json(run.tree, ConfigScope::kChanged).dump(),
            R"({"every":{"limit":3},"other":{"hidden_size":16}})");
}

TEST(ConfigJson, ErrorsNameThePlace) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"[]", "m.json: got JSON of type array; needed an object of sections"},
      {R"({"othr":{}})", "m.json: othr: got unknown section 'othr'"},
      {R"({"other":3})", "m.json: other: got JSON of type number; needed an object"},
      {R"({"other":{"hidden_sise":3}})",
       "m.json: other.hidden_sise: got unknown key 'hidden_sise'; needed a key of "
       "section 'other'. Fix: did you mean 'other.hidden_size'?"},
      {R"({"other":{"hidden_size":"3"}})", "m.json: other.hidden_size: got the text '3'; needed an integer"},
      {R"({"other":{"hidden_size":1.5}})",
       "m.json: other.hidden_size: got the number 1.5; needed an integer"},
      {R"({"other":{"hidden_size":18446744073709551615}})",
       "m.json: other.hidden_size: got 18446744073709551615; needed an integer within 64 bits"},
      {R"({"other":{"hidden_size":{}}})",
       "m.json: other.hidden_size: got JSON of type object; needed an integer"},
      {R"({"every":{"sizes":[1,[2]]}})",
       "m.json: every.sizes: got JSON of type array; needed a list of integers"},
      {R"({"every":{"kind":"fency"}})",
       "m.json: every.kind: got the text 'fency'; needed one of: plain, fancy, "
       "rms_norm. Fix: did you mean 'fancy'?"},
      {R"({"other":{"bias":null}})", "m.json: other.bias: got none; needed true or false"},
  };
  for (const auto& [text, message] : cases) {
    SmallRun run;
    EXPECT_THAT(
        error_text(ErrorKind::kBadInput,
                   [&] { apply_json(run.tree, parse_json(text, "m.json"), "m.json", Origin::kFile); }),
        HasSubstr(message));
  }
}

TEST(ConfigPrint, TableShowsValuesAndWhereTheyCameFrom) {
  SmallRun run;
  run.tree.set_text("every.count", "8", Origin::kRecipe, kHere);
  run.tree.set_text("every.label", "", Origin::kFile, kHere);
  run.tree.set_text("other.lr", "0.1", Origin::kFlag, kHere);
  run.tree.set_text("other.bias", "true", Origin::kMegatron, kHere);  // set, though to the default
  EXPECT_EQ(config_table(run.tree, ConfigScope::kChanged),
            "[every]\n"
            "  count        8      recipe\n"
            "  label        -      file\n"
            "[other]\n"
            "  lr           0.1    flag\n"
            "  bias         true   megatron\n");
  const std::string all = config_table(run.tree);
  EXPECT_THAT(all, HasSubstr("  hidden_size  8      default\n"));
  EXPECT_EQ(std::count(all.begin(), all.end(), '\n'), 15);
}

TEST(ConfigPrint, HelpHasEveryFlagItsHelpDefaultAndType) {
  SmallRun run;
  run.every.count = 1;  // the default is shown, not the value
  const std::string help = config_help(run.tree);
  EXPECT_THAT(help, HasSubstr("[every]\n"));
  EXPECT_THAT(help, HasSubstr("  --every.count                            number of things (default: 7)\n"));
  EXPECT_THAT(help, HasSubstr("one of: plain, fancy, rms_norm\n"));
  for (const std::string& key : run.tree.keys()) EXPECT_THAT(help, HasSubstr("--" + key + " "));
}

}  // namespace
}  // namespace phalanx
