// File: phalanx/optim/optim_parallel.h
//
// Purpose: what the optimizer knows of the other ranks.
// Contract: the default is one rank: no collective, no copy, no bucket. Gradients are sums over the whole step (the
//   weight of a row is 1 / N), so every reduction is a plain sum. Groups outlive the optimizer.
//   `data`   ranks with the same parameters and other samples (data x context parallel)
//   `model`  all tensor x pipeline ranks of my data replica: the norm is summed over it
//   `group_of`  the group of these world ranks, asked once a list of replicas, in the same order on all of them
// Source: Megatron's buckets: max(40 M, 1 M x data ranks) elements (megatron.md 1.1); ZeRO-1: Rajbhandari et al. 2020.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "phalanx/comm/group.h"

namespace phalanx {

struct OptimParallel {
  comm::Group* data = nullptr;
  comm::Group* model = nullptr;
  int64_t zero_stage = 0;  // 1: masters and moments lie on one data rank each
  std::function<comm::Group*(const std::vector<int>&)> group_of;
  int64_t bucket_elements = 0;  // 0: Megatron's
  bool overlap = true;          // false: one bucket, reduced when backward is over

  int64_t data_size() const { return data != nullptr ? data->size() : 1; }
  int64_t data_rank() const { return data != nullptr ? data->rank() : 0; }
  bool shards_state() const { return zero_stage >= 1 && data_size() > 1; }
  int world_rank() const {
    const comm::Group* group = model != nullptr ? model : data;
    return group != nullptr ? group->ranks()[static_cast<size_t>(group->rank())] : 0;
  }
  int64_t resolved_bucket_elements() const {
    return bucket_elements > 0 ? bucket_elements : std::max<int64_t>(40'000'000, 1'000'000 * data_size());
  }
};

}  // namespace phalanx
