// File: phalanx/comm/group.h
//
// Purpose: the one small interface to the other ranks of a mesh axis. Transports: threads of one process (local.h), MPI,
//   NCCL (they come later); a group of one does nothing and costs nothing.
// Contract: collectives come in the same order on every rank of the group, with the same operation, shape and dtype;
//   messages between two ranks are matched in order. Sums accumulate in fp32 or wider, in rank order, so that transports
//   agree bit for bit. Tensors are contiguous. A started operation owns references to its tensors until it is waited
//   for; nobody writes what it reads, or reads what it writes, before wait() returns. Every Work is waited for, once.
//   A group of one completes at once: nothing is copied unless `out` and `in` are different tensors.
// Shapes: dim 0 is what gathers, scatters and exchanges cut: `out` of all_gather and `in` of reduce_scatter are
//   [size n, ..]. There `in` may be this rank's part of `out`, and `out` of `in`; nowhere else may the two overlap.
// Errors: a dead, late or contradicting peer is Error(kPeer) naming group, operation, sequence number and rank.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "phalanx/comm/operation.h"

namespace phalanx::comm {

using at::Tensor;

class Work {
 public:
  virtual ~Work() = default;
  virtual void wait() = 0;
  virtual bool done() = 0;  // whether wait() would return, or throw, at once
};
using WorkPtr = std::shared_ptr<Work>;

class Group {
 public:
  virtual ~Group() = default;
  virtual int rank() const = 0;  // in this group
  virtual int size() const = 0;
  virtual const std::string& name() const = 0;
  virtual const std::vector<int>& ranks() const = 0;  // world ranks, ascending

  virtual WorkPtr start_all_reduce(Tensor tensor, ReduceOp op) = 0;
  virtual WorkPtr start_all_gather(Tensor out, Tensor in) = 0;
  virtual WorkPtr start_reduce_scatter(Tensor out, Tensor in) = 0;
  // Rows for and from each rank; both empty: even.
  virtual WorkPtr start_all_to_all(Tensor out, Tensor in, std::vector<int64_t> out_rows,
                                   std::vector<int64_t> in_rows) = 0;
  virtual WorkPtr start_broadcast(Tensor tensor, int root) = 0;
  virtual WorkPtr start_send(Tensor tensor, int peer) = 0;
  virtual WorkPtr start_recv(Tensor tensor, int peer) = 0;
  virtual void barrier() = 0;

  void all_reduce(Tensor& tensor, ReduceOp op = ReduceOp::kSum) { start_all_reduce(tensor, op)->wait(); }
  void all_gather(Tensor& out, const Tensor& in) { start_all_gather(out, in)->wait(); }
  void reduce_scatter(Tensor& out, const Tensor& in) { start_reduce_scatter(out, in)->wait(); }
  void all_to_all(Tensor& out, const Tensor& in, std::vector<int64_t> out_rows = {},
                  std::vector<int64_t> in_rows = {}) {
    start_all_to_all(out, in, std::move(out_rows), std::move(in_rows))->wait();
  }
  void broadcast(Tensor& tensor, int root) { start_broadcast(tensor, root)->wait(); }
  void send(const Tensor& tensor, int peer) { start_send(tensor, peer)->wait(); }
  void recv(Tensor& tensor, int peer) { start_recv(tensor, peer)->wait(); }
};

// The group of one.
std::unique_ptr<Group> make_self_group(const std::string& name, int world_rank = 0);

}  // namespace phalanx::comm
