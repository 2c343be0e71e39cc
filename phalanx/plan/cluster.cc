#include "phalanx/plan/cluster.h"

#include <fmt/format.h>

#include <algorithm>

#include "phalanx/arch/violations.h"
#include "phalanx/base/fs.h"
#include "phalanx/config/config_toml.h"
#include "phalanx/plan/cluster_files.h"

namespace phalanx {
namespace {

constexpr std::string_view kEnding = ".toml";
constexpr int64_t kMaxNodes = int64_t{1} << 20;
constexpr int64_t kMaxPerNode = 4096;
constexpr double kMaxRate = 1e21;  // bytes/s or FLOP/s: with at least 1, every time stays finite
constexpr double kMaxLatency = 10;
constexpr double kMinEfficiency = 1e-6;
constexpr double kMaxEfficiency = 1.2;  // a fit may pass a data sheet's figure, not by much

// The two tables of a file as a config tree over `cluster`. Must not outlive it.
ConfigTree cluster_tree(Cluster& cluster) {
  ConfigTree tree;
  tree.add_section("cluster", cluster);
  std::vector<FieldRef> sources;
  for (const ConfigField& field : tree.sections()[0].fields) {
    const std::string& name = field.ref.name();
    if (name != "name") sources.emplace_back(name, "where it comes from", &cluster.source[name]);
  }
  tree.add_fields("source", std::move(sources));
  return tree;
}

void check_numbers(const Cluster& c, const std::string& table, Violations& problems) {
  const auto count = [&](const char* field, int64_t value, int64_t most) {
    if (value >= 1 && value <= most) return;
    problems.add(table + field, std::to_string(value), fmt::format("1 to {}", most),
                 fmt::format("set {}", field));
  };
  // NaN fails every comparison, hence the form.
  const auto rate = [&](const char* field, double value) {
    if (value >= 1 && value <= kMaxRate) return;
    problems.add(table + field, fmt::format("{}", value), fmt::format("1 to {} a second", kMaxRate),
                 "the rate of one accelerator or NIC");
  };
  const auto latency = [&](const char* field, double value) {
    if (value >= 0 && value <= kMaxLatency) return;
    problems.add(table + field, fmt::format("{}", value), fmt::format("0 to {} seconds", kMaxLatency),
                 "3 microseconds are 3e-6");
  };
  const auto share = [&](const char* field, double value) {
    if (value >= kMinEfficiency && value <= kMaxEfficiency) return;
    problems.add(table + field, fmt::format("{}", value),
                 fmt::format("{} to {}", kMinEfficiency, kMaxEfficiency),
                 "a share of the peak: 0.7 for 70 %");
  };
  count("nodes", c.nodes, kMaxNodes);
  count("gpus_per_node", c.gpus_per_node, kMaxPerNode);
  rate("peak_flops", c.peak_flops);
  count("multiprocessors", c.multiprocessors, int64_t{1} << 20);
  count("memory_bytes", c.memory_bytes, int64_t{1} << 50);
  rate("memory_bandwidth", c.memory_bandwidth);
  rate("intra_bandwidth", c.intra_bandwidth);
  latency("intra_latency", c.intra_latency);
  rate("inter_bandwidth", c.inter_bandwidth);
  count("nics_per_node", c.nics_per_node, kMaxPerNode);
  latency("inter_latency", c.inter_latency);
  share("matmul_efficiency", c.matmul_efficiency);
  share("memory_efficiency", c.memory_efficiency);
  share("intra_efficiency", c.intra_efficiency);
  share("inter_efficiency", c.inter_efficiency);
  latency("launch_latency", c.launch_latency);
  const int64_t most = std::max(c.gpus_per_node, c.nics_per_node);
  const int64_t least = std::min(c.gpus_per_node, c.nics_per_node);
  if (least >= 1 && most % least != 0) {
    problems.add(table + "nics_per_node", std::to_string(c.nics_per_node),
                 fmt::format("a divisor or a multiple of gpus_per_node = {}", c.gpus_per_node),
                 "count the NICs that accelerators use, without those for storage");
  }
}

}  // namespace

void check_cluster(const Cluster& cluster, const std::string& where) {
  Violations problems(where, ".");
  check_numbers(cluster, "", problems);
  problems.throw_if_any();
}

Cluster read_cluster(std::string_view text, const std::string& where) {
  Cluster cluster;
  ConfigTree tree = cluster_tree(cluster);
  apply_toml(tree, text, where, Origin::kFile);
  Violations problems(where, " ");
  for (const ConfigField& field : tree.sections()[0].fields) {
    const std::string& name = field.ref.name();
    if (field.origin == Origin::kDefault) {
      problems.add("cluster." + name, "no value", field.ref.type_name(), field.ref.help());
    }
  }
  for (const ConfigField& field : tree.sections()[1].fields) {
    const std::string& name = field.ref.name();
    if (cluster.source[name].find_first_not_of(" \t\r\n") == std::string::npos) {
      problems.add("source." + name, "no text", "where the number comes from",
                   "an address, or \"measured on ..\", or \"assumed: ..\"");
    }
  }
  problems.throw_if_any();
  if (cluster.name.empty()) problems.add("cluster.name", "an empty text", "a name", "set name");
  check_numbers(cluster, "cluster.", problems);
  problems.throw_if_any();
  return cluster;
}

std::string to_toml(const Cluster& cluster) {
  Cluster copy = cluster;
  return to_toml(cluster_tree(copy), ConfigScope::kAll);
}

std::vector<std::string> cluster_names() {
  std::vector<std::string> names;
  for (const EmbeddedFile& file : plan_clusters()) names.emplace_back(file.name);
  return names;
}

Cluster load_cluster(const std::string& name_or_path) {
  if (name_or_path.ends_with(kEnding)) return read_cluster(read_file(name_or_path), name_or_path);
  for (const EmbeddedFile& file : plan_clusters()) {
    if (file.name == name_or_path) return read_cluster(file.text, name_or_path + std::string(kEnding));
  }
  const std::vector<std::string> names = cluster_names();
  const std::string near = nearest_name(name_or_path, names);
  throw Error(ErrorKind::kBadInput,
              {.where = "cluster",
               .got = "'" + name_or_path + "'",
               .needed = fmt::format("{}, or the path of a .toml file", fmt::join(names, ", ")),
               .fix = near.empty() ? "`phalanx bench machine --out here.toml` measures this machine"
                                   : "did you mean '" + near + "'?"});
}

}  // namespace phalanx
