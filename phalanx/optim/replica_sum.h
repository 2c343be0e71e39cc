// File: phalanx/optim/replica_sum.h
//
// Purpose: the sum of partial gradients over the ranks that hold the same box: norms under sequence parallelism, kv heads
//   fewer than tensor ranks, a tied embedding on the first and last stage.
// Contract: one flat all-reduce for each distinct list of replicas, and one of its own for each large segment, which is
//   then not packed. Lists are met in lexicographic order and segments by name, so that no two ranks wait for each other;
//   sizes follow from the segments' boxes, which are equal on all replicas. main_grad must not move afterwards.
// Source: Megatron's order of gradient finalisation (megatron.md, appendix B).
#pragma once

#include <vector>

#include "phalanx/optim/optim_parallel.h"
#include "phalanx/tensor/parameter.h"

namespace phalanx {

class ReplicaSum {
 public:
  ReplicaSum() = default;
  ReplicaSum(const std::vector<Parameter*>& parameters, const OptimParallel& parallel);

  bool empty() const { return messages_.empty(); }
  void run();

 private:
  struct Message {
    comm::Group* group = nullptr;
    std::vector<Tensor> pieces{};  // views of main gradients
    Tensor packed{};               // flat: the only piece itself, or where the pieces meet
    bool is_packed = false;
  };
  void add_message(comm::Group* group, std::vector<Tensor> pieces);

  std::vector<Message> messages_;
};

}  // namespace phalanx
