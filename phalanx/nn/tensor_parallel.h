// File: phalanx/nn/tensor_parallel.h
//
// Purpose: the two collectives between the residual stream and what a tensor group splits, started so that a matrix
//   product can run beside them.
//   start_gather  the stream's rows of every rank, one below the other: [T / n, ..] -> [T, ..]
//   start_sum     the sum over the group of each rank's part: [T, ..] -> [T, ..] by an all-reduce, or, when the stream's
//                 rows are sharded, [T, ..] -> [T / n, ..] by a reduce-scatter
// Contract: each is the backward of the other's forward, which is why a layer needs no more. A Pending is taken once; its
//   collective may read and write until then. A group of one hands its input back.
// Source: Korthikanti et al. 2022 (g and g-bar of sequence parallelism).
#pragma once

#include <ATen/core/Tensor.h>

#include "phalanx/comm/group.h"

namespace phalanx::nn {

using at::Tensor;

// What a started collective is filling.
class Pending {
 public:
  Pending(Tensor result, comm::WorkPtr work) : result_(std::move(result)), work_(std::move(work)) {}
  Tensor take() {
    if (work_) work_->wait();
    work_ = nullptr;
    return std::move(result_);
  }

 private:
  Tensor result_;
  comm::WorkPtr work_;  // nullptr: nothing to wait for
};

Pending start_gather(const Tensor& local, comm::Group& group);
// Takes `part` over: an all-reduce sums into it.
Pending start_sum(Tensor part, comm::Group& group, bool sharded);

}  // namespace phalanx::nn
