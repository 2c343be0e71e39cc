#include "phalanx/config/config_toml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "phalanx/base/fs.h"
#include "phalanx/config/test_sections.h"

namespace phalanx {
namespace {

using config_testing::error_text;
using config_testing::Kind;
using config_testing::SmallRun;
using testing::HasSubstr;

std::string refused(const std::string& text) {
  SmallRun run;
  return error_text(ErrorKind::kBadInput, [&] { apply_toml(run.tree, text, "run.toml", Origin::kFile); });
}

TEST(ConfigToml, ReadsEveryKindOfField) {
  SmallRun run;
  apply_toml(run.tree,
             "# a run\n"
             "[every]\n"
             "truth = false\n"
             "count = 1_000\n"
             "rate = 3            # an integer suits a number\n"
             "label = 'x'\n"
             "sizes = [4, 5]\n"
             "weights = [1, 0.5]\n"
             "paths = [\"a,b\", \"c\"]\n"
             "limit = 9\n"
             "scale = \"none\"\n"
             "kind = \"fancy\"\n"
             "[other]\n"
             "lr = 6e-4\n",
             "run.toml", Origin::kFile);
  EXPECT_FALSE(run.every.truth);
  EXPECT_EQ(run.every.count, 1000);
  EXPECT_EQ(run.every.rate, 3.0);
  EXPECT_EQ(run.every.label, "x");
  EXPECT_EQ(run.every.sizes, (std::vector<int64_t>{4, 5}));
  EXPECT_EQ(run.every.weights, (std::vector<double>{1.0, 0.5}));
  EXPECT_EQ(run.every.paths, (std::vector<std::string>{"a,b", "c"}));
  EXPECT_EQ(run.every.limit, 9);
  EXPECT_EQ(run.every.scale, std::nullopt);
  EXPECT_EQ(run.every.kind, Kind::kFancy);
  EXPECT_EQ(run.other.lr, 6e-4);
  EXPECT_EQ(run.tree.at("other.lr").origin, Origin::kFile);
  EXPECT_EQ(run.tree.at("other.bias").origin, Origin::kDefault);
  apply_toml(run.tree, "other.hidden_size = 32\nevery = {count = 2}", "run.toml", Origin::kFile);
  EXPECT_EQ(run.other.hidden_size, 32);
  EXPECT_EQ(run.every.count, 2);
}

TEST(ConfigToml, RecipeFileAndFlagsKeepTheirOrder) {
  SmallRun run;
  run.tree.set_text("other.lr", "3.0", Origin::kFlag, {.where = "--other.lr"});
  apply_toml(run.tree, "[other]\nlr = 2.0\nhidden_size = 2\n", "run.toml", Origin::kFile);
  apply_toml(run.tree, "[other]\nlr = 1.0\nhidden_size = 1\nbias = false\n", "recipe.toml", Origin::kRecipe);
  EXPECT_EQ(run.other.lr, 3.0);
  EXPECT_EQ(run.other.hidden_size, 2);
  EXPECT_FALSE(run.other.bias);
  EXPECT_EQ(run.tree.at("other.bias").origin, Origin::kRecipe);
}

TEST(ConfigToml, SyntaxErrorsGivePathLineAndColumn) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"[other]\nlr = \n", "run.toml:2:6: got "},
      {"[other\nlr = 1\n", "run.toml:1:7: got "},
      {"[other]\nlr = 1\nlr = 2\n", "run.toml:3:"},
      {"[other]\nlr = 1e\n", "run.toml:2:"},
      {"[other]\nbias = yes\n", "run.toml:2:8: got "},
      {"[every]\nlabel = \"open\n", "run.toml:2:14: got "},
      {"[every]\ncount = 99999999999999999999\n", "run.toml:2:"},
      {"[every]\nlabel = \"\xff\"\n", "run.toml:2:"},
      {"[=other]\n", "run.toml:1:2: got "},  // toml++ has assertions here
      {"[[[other]\n", "run.toml:1:3: got "},
      {"[every]\nsizes = [1, }2]\n", "run.toml:2:13: got "},
  };
  for (const auto& [text, where] : cases) {
    const std::string message = refused(text);
    EXPECT_EQ(message.substr(0, where.size()), where) << message;
    EXPECT_THAT(message, HasSubstr("needed valid TOML. Fix: correct the file at that line and column"));
  }
}

TEST(ConfigToml, NonAsciiCharactersBelongIntoQuotesAndComments) {
  SmallRun run;
  apply_toml(run.tree,
             "\xef\xbb\xbf# caf\xc3\xa9\n[every]\nlabel = \"caf\xc3\xa9 \\\" \xe2\x80\x9c\" # \xc3\xa9\n"
             "paths = ['\xc3\xa9\\', \"\"\"\n\"\xc3\xa9\"\"\"\"]\n",
             "run.toml", Origin::kFile);
  EXPECT_EQ(run.every.label, "caf\xc3\xa9 \" \xe2\x80\x9c");
  EXPECT_EQ(run.every.paths, (std::vector<std::string>{"\xc3\xa9\\", "\"\xc3\xa9\""}));
  EXPECT_EQ(refused("[every]\nlabel = \xe2\x80\x9c"
                    "cat\xe2\x80\x9d\n"),
            "run.toml:2:9: got the character '\xe2\x80\x9c' outside quotes; needed ASCII characters there. "
            "Fix: put it "
            "into a quoted text, or type plain quotes and blanks");
  EXPECT_THAT(refused("[every]\nlabel = \"\"\"a\\\n\"\"\"\nkind = \xc3\xa9\n"),
              HasSubstr("run.toml:4:8: got the character"));
  EXPECT_THAT(refused("[every] # \xc3\xa9\n'\xc3\xa9' \xc3\xa9= 1\n"),
              HasSubstr("run.toml:2:5: got the character"));
  EXPECT_THAT(refused("[every]\nlabel = \"\\\xc3\xa9\"\n"), HasSubstr("run.toml:2:11: got the character"));
  EXPECT_THAT(refused("[every]\nlabel = \"\"\"\\\n \xc3\xa9\"\"\"\n"),
              HasSubstr("run.toml:3:2: got the character"));
}

TEST(ConfigToml, WrongNamesAndTypesGiveLineColumnAndKey) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"\n[othr]\nlr = 1\n",
       "run.toml:2:2 othr: got unknown section 'othr'; needed one of: every, other. Fix: did you "
       "mean 'other'?"},
      {"[other]\nlr = 1.0\n\n  hiden_size = 3\n",
       "run.toml:4:3 other.hiden_size: got unknown key 'hiden_size'; needed a key of section 'other'. Fix: "
       "did you "
       "mean 'other.hidden_size'?"},
      {"[other]\nkind = 3\n",
       "run.toml:2:1 other.kind: got unknown key 'kind'; needed a key of section 'other'. Fix: "
       "did you mean 'every.kind'?"},
      {"[other]\nhidden-size = 3\n", "run.toml:2:1 other.hidden-size: got unknown key 'hidden-size'"},
      {"other = 3\n",
       "run.toml:1:1 other: got a value; needed the table [other]. Fix: write [other] on a line of its "
       "own and the keys below it"},
      {"[[other]]\nlr = 1\n", "run.toml:1:3 other: got a value; needed the table [other]"},
      {"lr = 3\n", "run.toml:1:1 lr: got unknown section 'lr'; needed one of: every, other"},
      {"[other]\nhidden_size = \"768\"\n",
       "run.toml:2:15 other.hidden_size: got the text '768'; needed an integer. "
       "Fix: write the whole number 768 (hidden_size: width)"},
      {"[other]\nhidden_size = 1.5\n",
       "run.toml:2:15 other.hidden_size: got the number 1.5; needed an integer"},
      {"[other]\nlr = nan\n", "run.toml:2:6 other.lr: got a number that is not finite; needed a number"},
      {"[other]\nlr = 1979-05-27\n", "run.toml:2:6 other.lr: got a date or time; needed a number"},
      {"[other]\nlr = {a = 1}\n", "run.toml:2:6 other.lr: got a table; needed a number"},
      {"[other.lr]\na = 1\n", "run.toml:1:1 other.lr: got a table; needed a number"},
      {"[every]\nsizes = [1, [2]]\n",
       "run.toml:2:9 every.sizes: got a list in a list; needed a list of integers"},
      {"[every]\nsizes = [1, 2.5]\n",
       "run.toml:2:9 every.sizes: got a list with the number 2.5; needed a list of integers"},
      {"[every]\nsizes = 1\n", "run.toml:2:9 every.sizes: got the integer 1; needed a list of integers"},
      {"[every]\nkind = \"fncy\"\n",
       "run.toml:2:8 every.kind: got the text 'fncy'; needed one of: plain, fancy, "
       "rms_norm. Fix: did you mean 'fancy'?"},
  };
  for (const auto& [text, message] : cases) EXPECT_THAT(refused(text), HasSubstr(message)) << text;
}

TEST(ConfigToml, ChangedFieldsReadBackEqual) {
  SmallRun from;
  EXPECT_EQ(to_toml(from.tree, ConfigScope::kChanged), "");
  from.every.truth = false;
  from.every.rate = 0.1 + 0.2;
  from.every.label = "tab\t quote \" backslash \\ bell \a delete \x7f e-acute \xc3\xa9";
  from.every.sizes = {};
  from.every.weights = {1e22, 1.0 / 3.0, 123456789012345680000.0};
  from.every.paths = {"a,b", "'"};
  from.every.limit = 4;
  from.every.scale = std::nullopt;
  from.every.kind = Kind::kRmsNorm;
  const std::string text = to_toml(from.tree, ConfigScope::kChanged);
  EXPECT_EQ(text.find("[other]"), std::string::npos);
  EXPECT_EQ(text.find("count"), std::string::npos);
  EXPECT_THAT(text, HasSubstr("rate = 0.30000000000000004\n"));
  EXPECT_THAT(text, HasSubstr("scale = \"none\"\n"));
  SmallRun to;
  apply_toml(to.tree, text, "written.toml", Origin::kFile);
  EXPECT_EQ(to_toml(to.tree, ConfigScope::kAll), to_toml(from.tree, ConfigScope::kAll));
  EXPECT_EQ(to.every.label, from.every.label);
  EXPECT_EQ(to.every.weights, from.every.weights);
  EXPECT_EQ(to.every.rate, from.every.rate);
}

TEST(ConfigToml, AllFieldsReadBackEqualAndAreAllThere) {
  SmallRun from;
  from.other.lr = 1e-300;
  const std::string text = to_toml(from.tree, ConfigScope::kAll);
  SmallRun to;
  apply_toml(to.tree, text, "written.toml", Origin::kFile);
  for (const std::string& key : to.tree.keys()) {
    EXPECT_EQ(to.tree.at(key).origin, Origin::kFile) << key;
    EXPECT_EQ(to.tree.text(key), from.tree.text(key)) << key;
  }
}

TEST(ConfigToml, ReadsAFileAndSaysWhenThereIsNone) {
  const TemporaryDirectory folder;
  const std::string path = folder.path() + "/run.toml";
  write_file_atomic(path, "[other]\nhidden_size = 5\n");
  SmallRun run;
  apply_toml_file(run.tree, path, Origin::kFile);
  EXPECT_EQ(run.other.hidden_size, 5);
  write_file_atomic(path, "[other]\nhidden_size = x\n");
  EXPECT_THAT(error_text(ErrorKind::kBadInput, [&] { apply_toml_file(run.tree, path, Origin::kFile); }),
              HasSubstr(path + ":2:15: got "));
  EXPECT_THAT(error_text(ErrorKind::kIo, [&] { apply_toml_file(run.tree, path + "x", Origin::kFile); }),
              HasSubstr(path + "x"));
}

}  // namespace
}  // namespace phalanx
