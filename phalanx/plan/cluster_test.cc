#include "phalanx/plan/cluster.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "phalanx/arch/test_errors.h"
#include "phalanx/base/fs.h"
#include "phalanx/telemetry/flops.h"

namespace phalanx {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// `text` with the line that starts with `key` in place of the one there; `nth` counts from 0.
std::string with_line(std::string text, const std::string& key, const std::string& line, int nth = 0) {
  size_t at = text.find("\n" + key + " =");
  while (nth-- > 0) at = text.find("\n" + key + " =", at + 1);
  const size_t end = text.find('\n', at + 1);
  return text.replace(at + 1, end - at - 1, line);
}

std::string refusal(const std::string& text) {
  return message_of([&] { read_cluster(text, "here.toml"); });
}

std::string selene() {
  return to_toml(load_cluster("a100-selene"));
}

TEST(Cluster, TheFilesOfTheLibraryLoad) {
  EXPECT_THAT(cluster_names(), ElementsAre("a100-selene", "h100-sxm", "h200"));
  for (const std::string& name : cluster_names()) {
    const Cluster cluster = load_cluster(name);
    EXPECT_EQ(cluster.name, name);
    EXPECT_NO_THROW(check_cluster(cluster));
    EXPECT_EQ(cluster,
              load_cluster(std::string(PHALANX_SOURCE_DIR) + "/phalanx/plan/clusters/" + name + ".toml"))
        << "the library holds an older file";
    EXPECT_EQ(cluster.source.size(), 16U);
    for (const auto& [key, text] : cluster.source) EXPECT_GT(text.size(), 10U) << key;
  }
}

TEST(Cluster, FiguresOfTheDataSheets) {
  const Cluster a100 = load_cluster("a100-selene");
  EXPECT_EQ(a100.world(), 4480);
  EXPECT_EQ(a100.peak_flops, 312e12);
  EXPECT_EQ(a100.peak_flops, peak_flops("NVIDIA A100-SXM4-80GB"));
  EXPECT_EQ(a100.memory_bandwidth, 2.039e12);
  EXPECT_EQ(a100.intra_bandwidth, 600e9 / 2);
  EXPECT_EQ(a100.inter_bandwidth, 200e9 / 8);
  EXPECT_EQ(a100.nics_per_node, 8);
  EXPECT_EQ(a100.multiprocessors, 108);
  const Cluster h100 = load_cluster("h100-sxm");
  EXPECT_NEAR(h100.peak_flops, *peak_flops("NVIDIA H100 80GB HBM3"), 1e12);
  EXPECT_EQ(h100.memory_bandwidth, 3.35e12);
  EXPECT_EQ(h100.memory_bytes, 81559LL << 20);
  EXPECT_EQ(h100.multiprocessors, 132);
  const Cluster h200 = load_cluster("h200");
  EXPECT_EQ(h200.memory_bandwidth, 4.8e12);
  EXPECT_EQ(h200.memory_bytes, 143771LL << 20);
  EXPECT_EQ(h200.inter_bandwidth, 400e9 / 8);
  for (const char* key : {"matmul_efficiency", "memory_efficiency", "intra_efficiency"}) {
    EXPECT_THAT(h100.source.at(key), HasSubstr("not measured"));
    EXPECT_THAT(h200.source.at(key), HasSubstr("not measured"));
  }
}

TEST(Cluster, WrittenAndReadBack) {
  Cluster cluster = load_cluster("h200");
  cluster.name = "mine \"x\"";
  cluster.peak_flops = 1.0 / 3.0 * 1e12;
  EXPECT_EQ(read_cluster(to_toml(cluster), "here.toml"), cluster);
  const TemporaryDirectory folder;
  write_file_atomic(folder.path() + "/mine.toml", to_toml(cluster));
  EXPECT_EQ(load_cluster(folder.path() + "/mine.toml"), cluster);
}

TEST(Cluster, UnknownNames) {
  EXPECT_THAT(message_of([] { load_cluster("a100-selen"); }),
              AllOf(HasSubstr("got 'a100-selen'; needed a100-selene, h100-sxm, h200, or the path"),
                    HasSubstr("did you mean 'a100-selene'?")));
  EXPECT_THAT(message_of([] { load_cluster("/"); }),
              AllOf(HasSubstr("bench machine"), Not(HasSubstr("did you"))));
  EXPECT_THROW(load_cluster("nowhere/x.toml"), Error);
}

TEST(Cluster, EveryConstantNeedsASource) {
  for (const auto& [key, text] : load_cluster("a100-selene").source) {
    const std::string missing = refusal(with_line(selene(), key, "", 1));
    EXPECT_THAT(missing, AllOf(HasSubstr("here.toml source." + key), HasSubstr("got no text")));
    EXPECT_THAT(refusal(with_line(selene(), key, key + " = \"  \"", 1)), HasSubstr("source." + key));
    EXPECT_THAT(refusal(with_line(selene(), key, "")),
                HasSubstr("here.toml cluster." + key + ": got no value"));
  }
  EXPECT_THAT(refusal(with_line(selene(), "name", "")), HasSubstr("cluster.name"));
  EXPECT_THAT(refusal(with_line(selene(), "name", "name = \"\"")), HasSubstr("an empty text"));
  const std::string none = refusal("");
  for (const auto& [key, text] : load_cluster("a100-selene").source) {
    EXPECT_THAT(none, HasSubstr("cluster." + key)) << "all in one list";
  }
  EXPECT_THAT(refusal(selene() + "mascot = \"x\"\n"), HasSubstr("mascot"));
}

TEST(Cluster, EveryViolationIsListed) {
  Cluster cluster = load_cluster("a100-selene");
  cluster.nodes = 0;
  cluster.gpus_per_node = -8;
  cluster.peak_flops = std::numeric_limits<double>::infinity();
  cluster.multiprocessors = 0;
  cluster.memory_bytes = 0;
  cluster.memory_bandwidth = -1;
  cluster.intra_bandwidth = 0;
  cluster.intra_latency = -1e-6;
  cluster.inter_bandwidth = std::numeric_limits<double>::quiet_NaN();
  cluster.nics_per_node = 0;
  cluster.inter_latency = std::numeric_limits<double>::quiet_NaN();
  cluster.matmul_efficiency = 0;
  cluster.memory_efficiency = 1.21;
  cluster.intra_efficiency = -0.5;
  cluster.inter_efficiency = 0;
  cluster.launch_latency = -1;
  const std::string message = message_of([&] { check_cluster(cluster, "mine"); });
  EXPECT_THAT(message, HasSubstr("got 16 problems:"));
  for (const auto& [key, text] : cluster.source) {
    EXPECT_THAT(message, HasSubstr("\n  mine." + key + ": got "));
  }
  EXPECT_THAT(message, HasSubstr("mine.memory_efficiency: got 1.21; needed 1e-06 to 1.2."));
  cluster = load_cluster("a100-selene");
  cluster.memory_efficiency = 1.2;
  cluster.intra_latency = 0;
  cluster.nics_per_node = 16;
  EXPECT_NO_THROW(check_cluster(cluster));
  cluster.nics_per_node = 3;
  EXPECT_THAT(message_of([&] { check_cluster(cluster); }),
              HasSubstr("a divisor or a multiple of gpus_per_node = 8"));
  EXPECT_THAT(refusal(with_line(selene(), "peak_flops", "peak_flops = inf")), HasSubstr("not finite"));
  EXPECT_THAT(refusal(with_line(selene(), "nodes", "nodes = 0")),
              HasSubstr("here.toml cluster.nodes: got 0"));
}

}  // namespace
}  // namespace phalanx
