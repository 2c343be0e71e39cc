// File: phalanx/comm/local.h
//
// Purpose: ranks that are threads of this process: the transport that needs nothing installed. Every parallel feature runs
//   and is tested on it.
// Contract: group.h, with tensors in main memory. Groups of the same name and members meet; a group of one is the self
//   group. Groups may outlive their world. run_ranks starts a thread a rank without gradient recording, ends when all
//   have ended, and may be called again after it went well. What a rank throws stops every group at once and is thrown
//   again here: the first error that is not merely the consequence of another rank's.
// Errors: local_hub.h; Error(kBadInput) for a tensor that is not in main memory or whose dtype is not one of f64 f32 bf16
//   f16 i64 i32 u8.
// Example:
//   LocalWorld world(4);
//   run_ranks(world, [&](int rank) { auto group = world.group(rank, "tp", {0, 1, 2, 3}); ... });
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "phalanx/comm/group.h"

namespace phalanx::comm {

class HubWorld;

struct LocalOptions {
  double deadline = 600;      // seconds that a rank waits for the others
  int progress_threads = -1;  // -1: as many as ranks, at most as cores
  int threads_per_rank = 0;   // LibTorch's own; 0: the cores shared out, at least one
  std::string flight_folder;  // rank_N.flight of every rank; empty: none
};

class LocalWorld {
 public:
  explicit LocalWorld(int size, LocalOptions options = {});
  int size() const { return size_; }
  const LocalOptions& options() const { return options_; }
  // Called by the rank itself. `ranks` ascend and contain it.
  std::unique_ptr<Group> group(int rank, const std::string& name, std::vector<int> ranks);

 private:
  friend void run_ranks(LocalWorld& world, const std::function<void(int rank)>& body);
  int size_;
  LocalOptions options_;
  std::shared_ptr<HubWorld> hubs_;
};

void run_ranks(LocalWorld& world, const std::function<void(int rank)>& body);

}  // namespace phalanx::comm
