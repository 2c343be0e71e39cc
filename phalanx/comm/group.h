// File: phalanx/comm/group.h
//
// Purpose: the one small interface to the other ranks of a mesh axis. Transports: threads of one process, MPI, NCCL
//   (they come with parallel layouts); a group of one does nothing and costs nothing.
// Contract: collective calls come in the same order on every rank of the group. Sums accumulate in fp32 or wider, in
//   rank order, so that transports agree bit for bit. A failed peer is Error(kPeer) naming group, operation, sequence
//   number and rank. Tensors are contiguous.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

namespace phalanx::comm {

using at::Tensor;

enum class ReduceOp { kSum, kMax };

class Group {
 public:
  virtual ~Group() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual const std::string& name() const = 0;

  virtual void all_reduce(Tensor& tensor, ReduceOp op) = 0;
  virtual void broadcast(Tensor& tensor, int root) = 0;
  virtual void barrier() = 0;
};

// The group of one.
std::unique_ptr<Group> make_self_group(const std::string& name);

}  // namespace phalanx::comm
