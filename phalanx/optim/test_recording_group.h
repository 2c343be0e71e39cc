// File: phalanx/optim/test_recording_group.h
//
// Purpose: for tests: a group that says what was asked of it, and can leave the last bucket out.
// Contract: events are "reduce N", "gather N" and "wait" of those; `log` belongs to one rank. Everything else goes to the
//   group behind it.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <string>
#include <vector>

#include "phalanx/comm/group.h"

namespace phalanx::testing {

using at::Tensor;

class RecordingGroup : public comm::Group {
 public:
  explicit RecordingGroup(comm::Group& inner, std::vector<std::string>* log = nullptr)
      : inner_(&inner), log_(log) {}

  bool drops_last_bucket = false;

  int calls() const { return calls_; }
  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  const std::string& name() const override { return inner_->name(); }
  const std::vector<int>& ranks() const override { return inner_->ranks(); }

  comm::WorkPtr start_all_reduce(Tensor tensor, comm::ReduceOp op) override {
    if (is_dropped(tensor)) return std::make_shared<Nothing>();
    return noted("reduce", tensor, [&] { return inner_->start_all_reduce(tensor, op); });
  }
  comm::WorkPtr start_reduce_scatter(Tensor out, Tensor in) override {
    if (is_dropped(in)) return std::make_shared<Nothing>();
    return noted("reduce", in, [&] { return inner_->start_reduce_scatter(out, in); });
  }
  comm::WorkPtr start_all_gather(Tensor out, Tensor in) override {
    return noted("gather", out, [&] { return inner_->start_all_gather(out, in); });
  }
  comm::WorkPtr start_all_to_all(Tensor out, Tensor in, std::vector<int64_t> out_rows,
                                 std::vector<int64_t> in_rows) override {
    return inner_->start_all_to_all(out, in, std::move(out_rows), std::move(in_rows));
  }
  comm::WorkPtr start_broadcast(Tensor tensor, int root) override {
    return inner_->start_broadcast(tensor, root);
  }
  comm::WorkPtr start_send(Tensor tensor, int peer) override { return inner_->start_send(tensor, peer); }
  comm::WorkPtr start_recv(Tensor tensor, int peer) override { return inner_->start_recv(tensor, peer); }
  void barrier() override { inner_->barrier(); }

 private:
  class Nothing : public comm::Work {
    void wait() override {}
    bool done() override { return true; }
  };
  class Noted : public comm::Work {
   public:
    Noted(comm::WorkPtr work, std::vector<std::string>* log, std::string what)
        : work_(std::move(work)), log_(log), what_(std::move(what)) {}
    void wait() override {
      if (log_ != nullptr) log_->push_back("wait " + what_);
      work_->wait();
    }
    bool done() override { return work_->done(); }

   private:
    comm::WorkPtr work_;
    std::vector<std::string>* log_;
    std::string what_;
  };

  // The last bucket of a step is the one that ends where the flat buffer does.
  bool is_dropped(const Tensor& flat) const {
    if (!drops_last_bucket) return false;
    const auto end = (flat.storage_offset() + flat.numel()) * static_cast<int64_t>(flat.element_size());
    return flat.numel() > 1 && end == static_cast<int64_t>(flat.storage().nbytes());
  }

  template <typename Start>
  comm::WorkPtr noted(const std::string& kind, const Tensor& tensor, const Start& start) {
    ++calls_;
    const std::string what = kind + " " + std::to_string(tensor.numel());
    if (log_ != nullptr) log_->push_back(what);
    return std::make_shared<Noted>(start(), log_, what);
  }

  comm::Group* inner_;
  std::vector<std::string>* log_;
  int calls_ = 0;
};

}  // namespace phalanx::testing
