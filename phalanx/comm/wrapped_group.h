// File: phalanx/comm/wrapped_group.h
//
// Purpose: a group that does something around every operation of another one. For tests and measurements.
// Contract: the inner group gets every operation unchanged and in the same order. The bytes of an operation are those of
//   its whole: `out` of all_gather, `in` of reduce_scatter and all_to_all, the tensor of the others.
// Units: bytes.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "phalanx/comm/group.h"

namespace phalanx::comm {

class WrappedGroup : public Group {
 public:
  explicit WrappedGroup(std::unique_ptr<Group> inner) : inner_(std::move(inner)) {}
  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  const std::string& name() const override { return inner_->name(); }
  const std::vector<int>& ranks() const override { return inner_->ranks(); }

  WorkPtr start_all_reduce(Tensor tensor, ReduceOp op) override {
    return around({OpKind::kAllReduce, -1, bytes(tensor)},
                  [&] { return inner_->start_all_reduce(tensor, op); });
  }
  WorkPtr start_all_gather(Tensor out, Tensor in) override {
    return around({OpKind::kAllGather, -1, bytes(out)}, [&] { return inner_->start_all_gather(out, in); });
  }
  WorkPtr start_reduce_scatter(Tensor out, Tensor in) override {
    return around({OpKind::kReduceScatter, -1, bytes(in)},
                  [&] { return inner_->start_reduce_scatter(out, in); });
  }
  WorkPtr start_all_to_all(Tensor out, Tensor in, std::vector<int64_t> out_rows,
                           std::vector<int64_t> in_rows) override {
    return around({OpKind::kAllToAll, -1, bytes(in)},
                  [&] { return inner_->start_all_to_all(out, in, std::move(out_rows), std::move(in_rows)); });
  }
  WorkPtr start_broadcast(Tensor tensor, int root) override {
    return around({OpKind::kBroadcast, root, bytes(tensor)},
                  [&] { return inner_->start_broadcast(tensor, root); });
  }
  WorkPtr start_send(Tensor tensor, int peer) override {
    return around({OpKind::kSend, peer, bytes(tensor)}, [&] { return inner_->start_send(tensor, peer); });
  }
  WorkPtr start_recv(Tensor tensor, int peer) override {
    return around({OpKind::kRecv, peer, bytes(tensor)}, [&] { return inner_->start_recv(tensor, peer); });
  }
  void barrier() override {
    const WorkPtr rest = around({OpKind::kBarrier, -1, 0}, [&] {
      inner_->barrier();
      return WorkPtr();
    });
    if (rest) rest->wait();
  }

 protected:
  struct Asked {
    OpKind kind;
    int peer;  // root of a broadcast, other side of a message, else -1
    int64_t bytes;
  };
  // Calls start() once and returns its work or one around it. A barrier is over when start() returns, and has no work.
  virtual WorkPtr around(const Asked& asked, const std::function<WorkPtr()>& start) = 0;

 private:
  static int64_t bytes(const Tensor& tensor) { return static_cast<int64_t>(tensor.nbytes()); }

  std::unique_ptr<Group> inner_;
};

}  // namespace phalanx::comm
