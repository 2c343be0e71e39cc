#include "phalanx/optim/replica_sum.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <string>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

// From here on a message of its own costs less than copying in and out.
constexpr int64_t kLargeElements = 1 << 18;

// By list of replicas, then by logical name: the same order on every rank.
std::map<std::vector<int>, std::map<std::string, Tensor>> partial_pieces(
    const std::vector<Parameter*>& parameters, int world_rank) {
  std::map<std::vector<int>, std::map<std::string, Tensor>> pieces;
  for (const Parameter* p : parameters) {
    for (const Segment& segment : p->segments) {
      const bool sums = segment.gradient == GradientKind::kPartial && segment.replicas.size() > 1;
      if (!p->trainable || !sums || segment.local_box.num_elements() == 0) continue;
      PHALANX_CHECK(std::count(segment.replicas.begin(), segment.replicas.end(), world_rank) == 1,
                    "the replicas of " + segment.name + " do not name this rank");
      const bool added =
          pieces[segment.replicas].emplace(segment.name, view_of(p->main_grad, segment.local_box)).second;
      PHALANX_CHECK(added, "this rank holds " + segment.name + " twice");
    }
  }
  return pieces;
}

}  // namespace

ReplicaSum::ReplicaSum(const std::vector<Parameter*>& parameters, const OptimParallel& parallel) {
  for (const auto& [replicas, by_name] : partial_pieces(parameters, parallel.world_rank())) {
    PHALANX_CHECK(parallel.group_of != nullptr, "partial gradients need group_of");
    comm::Group* group = parallel.group_of(replicas);
    PHALANX_CHECK(group != nullptr && group->ranks() == replicas, "group_of gave another group");
    std::vector<Tensor> small;
    for (const auto& [name, piece] : by_name) {
      if (piece.numel() >= kLargeElements) {
        add_message(group, {piece});
      } else {
        small.push_back(piece);
      }
    }
    if (!small.empty()) add_message(group, std::move(small));
  }
}

void ReplicaSum::add_message(comm::Group* group, std::vector<Tensor> pieces) {
  Message message{.group = group, .pieces = std::move(pieces)};
  if (message.pieces.size() == 1 && message.pieces[0].is_contiguous()) {
    message.packed = message.pieces[0].view({-1});
  } else {
    int64_t total = 0;
    for (const Tensor& piece : message.pieces) total += piece.numel();
    message.packed = at::empty({total}, message.pieces[0].options());
    message.is_packed = true;
  }
  messages_.push_back(std::move(message));
}

void ReplicaSum::run() {
  const auto for_each_piece = [](const Message& message, auto&& copy) {
    int64_t offset = 0;
    for (const Tensor& piece : message.pieces) {
      copy(piece, message.packed.narrow(0, offset, piece.numel()).view(piece.sizes()));
      offset += piece.numel();
    }
  };
  std::vector<comm::WorkPtr> works;
  for (const Message& message : messages_) {
    if (message.is_packed)
      for_each_piece(message, [](const Tensor& piece, const Tensor& home) { home.copy_(piece); });
    works.push_back(message.group->start_all_reduce(message.packed, comm::ReduceOp::kSum));
  }
  for (size_t i = 0; i < messages_.size(); ++i) {
    works[i]->wait();
    if (messages_[i].is_packed)
      for_each_piece(messages_[i], [](const Tensor& piece, const Tensor& home) { piece.copy_(home); });
  }
}

}  // namespace phalanx
