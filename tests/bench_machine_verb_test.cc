// `phalanx bench machine` as a user runs it. Speeds are this machine's, so only what any machine must show is asserted.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "phalanx/base/json.h"
#include "phalanx/plan/cluster.h"
#include "tests/program.h"

namespace phalanx {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using testing::Ran;
using ::testing::StartsWith;

Ran run(const std::string& arguments, const TemporaryDirectory& folder) {
  return testing::run_program("bench machine " + arguments, folder.path());
}

TEST(BenchMachineVerb, WritesAClusterThatThePlannerReads) {
  const TemporaryDirectory folder;
  const Ran ran = run("--out here.toml --name here --ranks 2 --json", folder);
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.err, "") << "no progress without a terminal";
  const Cluster cluster = load_cluster(folder.path() + "/here.toml");
  EXPECT_EQ(cluster.name, "here");
  EXPECT_EQ(cluster.nodes, 1);
  EXPECT_EQ(cluster.gpus_per_node, 2);
  EXPECT_EQ(cluster.multiprocessors, 1);
  EXPECT_GT(cluster.memory_bytes, 1 << 26);
  // From a slow core under a sanitizer to the fastest there is.
  EXPECT_GT(cluster.peak_flops, 1e8);
  EXPECT_LT(cluster.peak_flops, 1e13);
  EXPECT_GT(cluster.memory_bandwidth, 1e8);
  EXPECT_LT(cluster.memory_bandwidth, 1e12);
  EXPECT_GT(cluster.intra_bandwidth, 1e7);
  EXPECT_LT(cluster.intra_bandwidth, 1e12);
  EXPECT_GT(cluster.intra_latency, 1e-9);
  EXPECT_LT(cluster.intra_latency, 0.1);
  EXPECT_GT(cluster.launch_latency, 1e-9);
  EXPECT_EQ(cluster.inter_bandwidth, cluster.intra_bandwidth);
  for (const auto& [key, text] : cluster.source) {
    const bool network = key.starts_with("inter_") || key == "nics_per_node";
    EXPECT_THAT(text, AllOf(StartsWith(network ? "not measured on " : "measured on "),
                            ContainsRegex(" 20[0-9][0-9]-[01][0-9]-[0-3][0-9] by phalanx bench machine: ")))
        << key;
  }

  const Json json = parse_json(ran.out, "stdout");
  EXPECT_EQ(json.at("peak_flops").get<double>(), cluster.peak_flops);
  EXPECT_EQ(json.at("name"), "here");
  EXPECT_EQ(json.at("gpus_per_node"), 2);
  EXPECT_EQ(json.at("source").at("intra_latency"), cluster.source.at("intra_latency"));
}

TEST(BenchMachineVerb, SaysWhatItMeasured) {
  const TemporaryDirectory folder;
  const Ran ran = run("--ranks 1", folder);
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_THAT(ran.out, AllOf(HasSubstr("machine      this-machine: 1 rank of one core, "),
                             HasSubstr("GFLOP/s a core"), HasSubstr("rank to rank ")));
  EXPECT_FALSE(path_exists(folder.path() + "/here.toml"));
}

TEST(BenchMachineVerb, Mistakes) {
  const TemporaryDirectory folder;
  Ran ran = run("--out here.json", folder);
  EXPECT_EQ(ran.code, 2);
  EXPECT_THAT(ran.err, HasSubstr("--out: got 'here.json'; needed a name that ends in .toml"));
  ran = run("--ranks 5000", folder);
  EXPECT_EQ(ran.code, 2);
  EXPECT_THAT(ran.err, HasSubstr("--ranks above 4096"));
  ran = run("here.toml", folder);
  EXPECT_EQ(ran.code, 2);
  EXPECT_THAT(ran.err, HasSubstr("got 'here.toml'; needed flags only"));
  ran = run("--ouut x.toml", folder);
  EXPECT_EQ(ran.code, 2);
  EXPECT_THAT(ran.err, HasSubstr("--ouut"));
  EXPECT_THAT(testing::run_program("bench --help", folder.path()).out,
              HasSubstr("phalanx bench machine [--out"));
}

}  // namespace
}  // namespace phalanx
