// Mutated TOML, JSON and command lines: whatever comes, the answer is a config or an Error, never a crash.
#include <gtest/gtest.h>

#include <random>

#include "phalanx/base/test_mutate.h"
#include "phalanx/config/config_json.h"
#include "phalanx/config/config_toml.h"
#include "phalanx/config/flags.h"
#include "phalanx/config/test_sections.h"

namespace phalanx {
namespace {

using config_testing::FullRun;
using config_testing::SmallRun;

constexpr int kRounds = 20000;
constexpr std::string_view kPieces[] = {"[",    "]",   "[[",   "]]",  "=",  "\"",  "'",  "\"\"\"", "\\",
                                        ",",    ".",   "#",    "\n",  "{",  "}",   "--", "-",      "_",
                                        "=",    "0",   "1e",   "inf", "\0", "nan", "\t", "other",  "every",
                                        "\xff", "\\u", "true", "+",   " ",  "none"};

// Runs `action` on mutated inputs; true results and Errors are counted, anything else fails the test.
template <typename Action>
void expect_value_or_error(const Action& action) {
  std::mt19937 random(7);
  int good = 0;
  int refused = 0;
  for (int round = 0; round < kRounds; ++round) {
    try {
      action(random);
      ++good;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()), "");
      EXPECT_TRUE(e.kind() == ErrorKind::kUsage || e.kind() == ErrorKind::kBadInput) << e.what();
      ++refused;
    }
  }
  EXPECT_GT(good, kRounds / 200);  // both happen, or the mutations are no test
  EXPECT_GT(refused, kRounds / 100);
}

TEST(ConfigFuzz, MutatedToml) {
  SmallRun sample;
  sample.every.paths = {"a", "b"};
  sample.every.weights = {0.5, 2.0};
  const std::string text = to_toml(sample.tree, ConfigScope::kAll);
  expect_value_or_error([&](std::mt19937& random) {
    SmallRun run;
    apply_toml(run.tree, testing::mutate(text, random, kPieces), "fuzz.toml", Origin::kFile);
    SmallRun again;  // what was accepted can be written and read
    apply_toml(again.tree, to_toml(run.tree, ConfigScope::kChanged), "again.toml", Origin::kFile);
    EXPECT_EQ(to_toml(again.tree, ConfigScope::kAll), to_toml(run.tree, ConfigScope::kAll));
  });
}

TEST(ConfigFuzz, MutatedJson) {
  SmallRun sample;
  sample.every.paths = {"a", "b"};
  const std::string text = to_json(sample.tree).dump();
  expect_value_or_error([&](std::mt19937& random) {
    SmallRun run;
    apply_json(run.tree, parse_json(testing::mutate(text, random, kPieces), "fuzz.json"), "fuzz.json",
               Origin::kFile);
  });
}

TEST(ConfigFuzz, MutatedCommandLines) {
  const std::vector<std::string> words = {"--every.count=3",
                                          "--every.rate",
                                          "0.5",
                                          "--every.paths=a,b",
                                          "--every.kind=fancy",
                                          "--other.bias",
                                          "false",
                                          "--no-other.bias",
                                          "--files",
                                          "x",
                                          "run.toml",
                                          "--help",
                                          "--other.lr",
                                          "1e-3",
                                          "--every.sizes=1,2"};
  const FlagRules rules{.aliases = {{.flag = "--files", .key = "every.paths", .kind = FlagKind::kWords},
                                    {.flag = "--help", .kind = FlagKind::kSwitch}}};
  expect_value_or_error([&](std::mt19937& random) {
    SmallRun run;
    std::vector<std::string> args;
    for (size_t i = 0; i < 1 + random() % 4; ++i) args.push_back(words[random() % words.size()]);
    if (random() % 2 == 0) args[0] = testing::mutate(args[0], random, kPieces);
    apply_flags(run.tree, parse_flags(args, run.tree, rules), false);
  });
}

TEST(ConfigFuzz, MutatedMegatronCommandLines) {
  const std::vector<std::string> words = {"--num-layers",
                                          "4",
                                          "--window-size",
                                          "(7,0)",
                                          "--micro-batch-size=2",
                                          "--swiglu",
                                          "--bf16",
                                          "--optimizer",
                                          "adam",
                                          "--rampup-batch-size",
                                          "16",
                                          "--split",
                                          "969, 30, 1",
                                          "--manual-gc",
                                          "--num-layers-per-virtual-pipeline-stage",
                                          "2",
                                          "--fp8-format"};
  expect_value_or_error([&](std::mt19937& random) {
    FullRun run;
    std::vector<std::string> args = {"--micro-batch-size", "1"};
    for (size_t i = 0; i < 1 + random() % 5; ++i) args.push_back(words[random() % words.size()]);
    if (random() % 2 == 0) args.back() = testing::mutate(args.back(), random, kPieces);
    apply_flags(run.tree, parse_flags(args, run.tree, {}), false);
  });
}

}  // namespace
}  // namespace phalanx
