#include "phalanx/config/flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "phalanx/config/config_toml.h"
#include "phalanx/config/test_sections.h"

namespace phalanx {
namespace {

using config_testing::error_text;
using config_testing::Kind;
using config_testing::SmallRun;
using testing::ElementsAre;
using testing::HasSubstr;

const std::vector<FlagAlias> kAliases = {
    {.flag = "--lr-peak", .key = "other.lr", .help = "peak learning rate"},
    {.flag = "--mock", .key = "every.truth", .kind = FlagKind::kSwitch},
    {.flag = "--files", .key = "every.paths", .kind = FlagKind::kWords, .metavar = "FILE"},
    {.flag = "--help", .kind = FlagKind::kSwitch, .help = "say how"},
    {.flag = "-h", .kind = FlagKind::kSwitch},
    {.flag = "--prompt", .help = "text to go on from", .metavar = "TEXT"},
    {.flag = "--num-samples", .kind = FlagKind::kWords},
};

ParsedFlags parse(const ConfigTree& tree, const std::vector<std::string>& args) {
  return parse_flags(args, tree, {.aliases = kAliases});
}

void apply(SmallRun& run, const std::vector<std::string>& args) {
  apply_flags(run.tree, parse(run.tree, args), true);
}

std::string refused(const std::vector<std::string>& args) {
  SmallRun run;
  return error_text(ErrorKind::kUsage, [&] { apply(run, args); });
}

TEST(Flags, SetsEveryKindOfFieldInEverySpelling) {
  SmallRun run;
  apply(run, {"--every.count=-3", "--every.rate", "-1.5e-3", "--every.label=a=b", "--every.sizes", "-4,5",
              "--every.weights=0.5,1", "--every.paths=a b,c\\,d", "--every.limit=none", "--every.scale", "2",
              "--every.kind", "fancy", "--other.hidden-size=64", "--other.bias=false"});
  EXPECT_EQ(run.every.count, -3);
  EXPECT_EQ(run.every.rate, -1.5e-3);
  EXPECT_EQ(run.every.label, "a=b");
  EXPECT_EQ(run.every.sizes, (std::vector<int64_t>{-4, 5}));
  EXPECT_EQ(run.every.weights, (std::vector<double>{0.5, 1.0}));
  EXPECT_EQ(run.every.paths, (std::vector<std::string>{"a b", "c,d"}));
  EXPECT_EQ(run.every.limit, std::nullopt);
  EXPECT_EQ(run.every.scale, 2.0);
  EXPECT_EQ(run.every.kind, Kind::kFancy);
  EXPECT_EQ(run.other.hidden_size, 64);
  EXPECT_FALSE(run.other.bias);
  EXPECT_EQ(run.tree.at("other.bias").origin, Origin::kFlag);
  EXPECT_EQ(run.tree.at("other.lr").origin, Origin::kDefault);
}

TEST(Flags, TruthValues) {
  const std::vector<std::pair<std::vector<std::string>, bool>> cases = {
      {{"--other.bias"}, true},           {{"--other.bias=true"}, true}, {{"--other.bias", "true"}, true},
      {{"--other.bias", "false"}, false}, {{"--no-other.bias"}, false},  {{"--no_other.bias"}, false},
  };
  for (const auto& [args, expected] : cases) {
    SmallRun run;
    run.other.bias = !expected;
    apply(run, args);
    EXPECT_EQ(run.other.bias, expected) << args[0];
  }
  SmallRun run;
  const ParsedFlags flags = parse(run.tree, {"--other.bias", "run.toml"});
  EXPECT_THAT(flags.positionals, ElementsAre("run.toml"));
  EXPECT_EQ(
      refused({"--other.bias=yes"}),
      "--other.bias: got 'yes'; needed true or false. Fix: write true or false (bias: biases in linear layers)");
  EXPECT_EQ(refused({"--no-other.bias=true"}),
            "--no-other.bias: got 'true'; needed no value. Fix: drop '=true'");
  EXPECT_THAT(refused({"--no-other.lr"}), HasSubstr("--no-other.lr: got unknown section 'no_other'"));
}

TEST(Flags, PositionalsAndTheVerbsOwnOptions) {
  SmallRun run;
  const ParsedFlags flags =
      parse(run.tree, {"run.toml", "--prompt", "two words", "-h", "-", "--files", "a", "b,c",
                       "--num_samples=7", "--mock=false", "--", "--every.count", "x"});
  EXPECT_THAT(flags.positionals, ElementsAre("run.toml", "-", "--every.count", "x"));
  EXPECT_EQ(flags.option("--prompt"), "two words");
  EXPECT_EQ(flags.option("--num-samples"), "7");
  EXPECT_EQ(flags.option("--absent", "fallback"), "fallback");
  EXPECT_TRUE(flags.has("-h"));
  EXPECT_FALSE(flags.has("--help"));
  EXPECT_FALSE(flags.used_megatron);
  EXPECT_TRUE(flags.notes.empty());
  EXPECT_TRUE(run.every.truth) << "parsing sets nothing";
  apply_flags(run.tree, flags, true);
  EXPECT_FALSE(run.every.truth);
  EXPECT_EQ(run.every.paths, (std::vector<std::string>{"a", "b,c"}));
  EXPECT_EQ(parse(run.tree, {"--num-samples", "1", "2", "--mock"}).options.at("--num-samples").size(), 2u);
}

TEST(Flags, FlagsBeatTheFileWhicheverIsReadFirst) {
  SmallRun run;
  const ParsedFlags flags = parse(run.tree, {"--other.lr=3", "run.toml"});
  apply_flags(run.tree, flags, true);
  apply_toml(run.tree, "[other]\nlr = 2.0\nhidden_size = 2\n", "run.toml", Origin::kFile);
  EXPECT_EQ(run.other.lr, 3.0);
  EXPECT_EQ(run.other.hidden_size, 2);
}

TEST(Flags, UnknownFlagsSuggestTheNearest) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"--other.hiden_size=3",
       "--other.hiden_size: got unknown key 'hiden_size'; needed a key of section 'other'. Fix: "
       "did you mean 'other.hidden_size'?"},
      {"--othre.lr=3",
       "--othre.lr: got unknown section 'othre'; needed one of: every, other. Fix: did you mean "
       "'other'?"},
      {"--bias", "--bias: got an unknown flag; needed a known one. Fix: did you mean '--other.bias'?"},
      {"--promt=x", "--promt: got an unknown flag; needed a known one. Fix: did you mean '--prompt'?"},
      {"--num-layer=3",
       "--num-layer: got an unknown flag; needed a known one. Fix: did you mean '--num-layers'?"},
      {"--other-things=3",  // shares letters with some known ones
       "--other-things: got an unknown flag; needed a known one. Fix: --help lists the flags"},
      {"--qqqqqqqqqqqqqq",
       "--qqqqqqqqqqqqqq: got an unknown flag; needed a known one. Fix: --help lists the flags"},
      {"-x", "-x: got an unknown flag; needed a known one. Fix: --help lists the flags"},
      {"---", "---: got an unknown flag; needed a known one. Fix: --help lists the flags"},
      {"--=3", "--: got an unknown flag; needed a known one. Fix: --help lists the flags"},
  };
  for (const auto& [flag, message] : cases) EXPECT_EQ(refused({flag}), message);
}

TEST(Flags, ValuesThatAreMissingOrContradicting) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"--other.lr"}, "--other.lr: got no value; needed a number. Fix: write --other.lr=VALUE"},
      {{"--other.lr", "--other.bias"},
       "--other.lr: got no value; needed a number. Fix: write --other.lr=VALUE"},
      {{"--prompt"}, "--prompt: got no value; needed TEXT. Fix: write --prompt=VALUE"},
      {{"--files", "--mock"},
       "--files: got no value; needed a list of texts, none of them empty. Fix: write "
       "--files=VALUE"},
      {{"--help=3"}, "--help: got '3'; needed no value. Fix: drop '=3'"},
      {{"--other.lr=1", "--lr-peak=2"},
       "--lr-peak: got other.lr set by --other.lr (1) and by --lr-peak (2); needed one value for other.lr. "
       "Fix: keep "
       "one of the two flags"},
      {{"--other.bias", "--no-other.bias"},
       "--no-other.bias: got other.bias set by --other.bias (true) and by --no-other.bias (false); needed "
       "one value "
       "for other.bias. Fix: keep one of the two flags"},
      {{"--lr-peak=fast"},
       "--lr-peak: got 'fast'; needed a number. Fix: write a finite number, e.g. 0.001 (lr: peak learning rate)"},
      {{"--every.limit="},
       "--every.limit: got ''; needed an integer or none. Fix: write an integer, e.g. 1 (limit: largest thing)"},
  };
  for (const auto& [args, message] : cases) EXPECT_EQ(refused(args), message);
  SmallRun run;
  apply(run, {"--other.lr=2", "--lr-peak=2"});  // saying the same twice is no contradiction
  EXPECT_EQ(run.other.lr, 2.0);
}

TEST(Flags, TheLastOfARepeatedFlagCountsAndIsSaid) {
  SmallRun run;
  const ParsedFlags flags = parse(run.tree, {"--other.hidden_size=1", "--prompt=a", "--lr-peak=2", "--help",
                                             "--other.hidden-size=5", "--prompt=b", "--lr_peak=2", "--help"});
  EXPECT_THAT(
      flags.notes,
      ElementsAre("--help was given twice; once is enough", "--lr-peak was given twice; 2 counts",
                  "--other.hidden-size was given twice; 5 counts", "--prompt was given twice; b counts"));
  apply_flags(run.tree, flags, true);
  EXPECT_EQ(run.other.hidden_size, 5);
  EXPECT_EQ(flags.option("--prompt"), "b");
}

TEST(Flags, MegatronsFlagsCanBeLeftOut) {
  SmallRun run;
  EXPECT_EQ(
      error_text(ErrorKind::kUsage,
                 [&] { parse_flags({"--num-layers=3"}, run.tree, {.aliases = {}, .megatron = false}); }),
      "--num-layers: got an unknown flag; needed a known one. Fix: --help lists the flags");
  EXPECT_EQ(
      refused({"--num-layers=3"}),
      "--num-layers: got a flag for model.num_layers; needed a flag of this command. Fix: --help lists them");
}

TEST(Flags, HelpShowsUsageAndKey) {
  EXPECT_THAT(alias_help(kAliases),
              HasSubstr("  --lr-peak VALUE                  peak learning rate (--other.lr)\n"));
  EXPECT_THAT(alias_help(kAliases), HasSubstr("  --files FILE ...                 (--every.paths)\n"));
  EXPECT_THAT(alias_help(kAliases), HasSubstr("  --help                           say how\n"));
}

}  // namespace
}  // namespace phalanx
