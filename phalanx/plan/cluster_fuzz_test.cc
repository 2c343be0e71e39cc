// Mutated cluster files: whatever comes, the answer is a cluster that passes its own check, or an Error.
#include <gtest/gtest.h>

#include <random>

#include "phalanx/base/error.h"
#include "phalanx/base/test_mutate.h"
#include "phalanx/plan/cluster.h"

namespace phalanx {
namespace {

constexpr int kRounds = 20000;
constexpr std::string_view kPieces[] = {"[",        "]",
                                        "[[",       "=",
                                        "\"",       "'",
                                        "\\",       ",",
                                        ".",        "#",
                                        "\n",       "{",
                                        "}",        "-",
                                        "_",        "0",
                                        "1e",       "inf",
                                        "\0",       "nan",
                                        "\t",       "nodes",
                                        "[source]", "\xff",
                                        "1e308",    "99999999999999999999",
                                        "true",     "+",
                                        " "};

TEST(ClusterFuzz, MutatedFiles) {
  std::mt19937 random(11);
  int good = 0;
  int refused = 0;
  for (const std::string& name : cluster_names()) {
    const std::string text = to_toml(load_cluster(name));
    for (int round = 0; round < kRounds; ++round) {
      try {
        const Cluster cluster = read_cluster(testing::mutate(text, random, kPieces), "fuzz.toml");
        EXPECT_NO_THROW(check_cluster(cluster));
        EXPECT_EQ(read_cluster(to_toml(cluster), "again.toml"), cluster);
        ++good;
      } catch (const Error& e) {
        EXPECT_EQ(e.kind(), ErrorKind::kBadInput) << e.what();
        EXPECT_NE(std::string(e.what()), "");
        ++refused;
      }
    }
  }
  EXPECT_GT(good, kRounds / 100);  // both happen, or the mutations are no test
  EXPECT_GT(refused, kRounds / 100);
}

}  // namespace
}  // namespace phalanx
