// File: phalanx/plan/cluster.h
//
// Purpose: the machine that a plan is for: nodes of equal accelerators, a fast link inside a node, NICs between
//   nodes, and the share of each peak that programs attain.
// Contract: a cluster is a TOML file of two tables: [cluster], every field below, and [source], for every field but
//   the name one text that says where its number comes from. A file that lacks one of them is refused, so no constant
//   is without a source. The files of clusters/ are part of the library, so that their names work with nothing
//   installed; a name that ends in ".toml" is read from disk.
// Units: FLOP/s (dense bf16 with fp32 sums), bytes, bytes/s in one direction, seconds a message.
// Errors: Error(kBadInput) that lists everything wrong with a file, by key; kIo.
// Example: const Cluster cluster = load_cluster("a100-selene");
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "phalanx/config/fields.h"

namespace phalanx {

struct Cluster {
  std::string name;
  int64_t nodes = 0;
  int64_t gpus_per_node = 0;
  double peak_flops = 0;
  int64_t multiprocessors = 0;
  int64_t memory_bytes = 0;
  double memory_bandwidth = 0;
  double intra_bandwidth = 0;
  double intra_latency = 0;
  double inter_bandwidth = 0;
  int64_t nics_per_node = 0;
  double inter_latency = 0;
  double matmul_efficiency = 0;
  double memory_efficiency = 0;
  double intra_efficiency = 0;
  double inter_efficiency = 0;
  double launch_latency = 0;
  std::map<std::string, std::string> source;  // by field

  int64_t world() const { return nodes * gpus_per_node; }
  bool operator==(const Cluster&) const = default;

  template <typename Visitor>
  void visit_fields(Visitor& v) {
    v.field("name", name, "what `load_cluster` is asked for");
    v.field("nodes", nodes, "nodes");
    v.field("gpus_per_node", gpus_per_node, "accelerators of a node");
    v.field("peak_flops", peak_flops, "dense bf16 peak of an accelerator, FLOP/s");
    v.field("multiprocessors", multiprocessors, "units that work on their own, of an accelerator");
    v.field("memory_bytes", memory_bytes, "memory of an accelerator, bytes");
    v.field("memory_bandwidth", memory_bandwidth, "of an accelerator's memory, bytes/s");
    v.field("intra_bandwidth", intra_bandwidth, "of an accelerator to its node, each direction, bytes/s");
    v.field("intra_latency", intra_latency, "a message inside a node, seconds");
    v.field("inter_bandwidth", inter_bandwidth, "of a NIC, each direction, bytes/s");
    v.field("nics_per_node", nics_per_node, "NICs of a node");
    v.field("inter_latency", inter_latency, "a message between nodes, seconds");
    v.field("matmul_efficiency", matmul_efficiency, "attainable share of peak_flops in large products");
    v.field("memory_efficiency", memory_efficiency, "attainable share of memory_bandwidth");
    v.field("intra_efficiency", intra_efficiency, "attainable share of intra_bandwidth");
    v.field("inter_efficiency", inter_efficiency, "attainable share of inter_bandwidth");
    v.field("launch_latency", launch_latency, "of a collective, before its first message, seconds");
  }
};

// "a100-selene", ...
std::vector<std::string> cluster_names();

// A name of cluster_names() or the path of a .toml file.
Cluster load_cluster(const std::string& name_or_path);

// `where` stands for the file in errors.
Cluster read_cluster(std::string_view text, const std::string& where);
// read_cluster of it gives an equal cluster.
std::string to_toml(const Cluster& cluster);

// Every number that makes no sense, in one Error(kBadInput). For clusters whose fields were changed in a program.
void check_cluster(const Cluster& cluster, const std::string& where = "cluster");

}  // namespace phalanx
