// File: phalanx/tensor/parameter.h
//
// Purpose: a local tensor plus the logical tensors it is made of (DESIGN 4, "Parameter").
// Contract: `segments` say, for every logical tensor inside, its global shape, the box of it that this rank holds,
//   where that box lies in `data`, who else holds it, and whether the gradient is `partial` (summed over the replica
//   group) or `identical`. Rows of `data` outside every segment are padding. `main_grad` has the shape of `data`, in
//   fp32 (fp64 under fp64); has_grad says whether it holds a sum yet: the first contribution of a step overwrites.
//   Modules keep Parameter* and ask full() at each use, so that sharded parameters can come and go: it waits for an
//   update that is still on its way from other ranks (`pending`), and costs one comparison where there is none.
//   `uses` is how many gradients a micro-batch contributes: buckets count them to know when the last one is in.
// `trainable = false`: no gradient, no bucket, no optimizer state.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "phalanx/shard/box.h"

namespace phalanx {

using at::Tensor;

enum class GradientKind { kIdentical, kPartial };

struct Segment {
  std::string name;
  Shape global_shape;
  Box global_box;                   // in the logical tensor
  Box local_box;                    // in Parameter::data
  std::vector<int> replicas = {0};  // world ranks of this data replica that hold the same box, ascending
  GradientKind gradient = GradientKind::kIdentical;
  bool decay = false;
};

// The norm counts a segment, and a checkpoint takes it, from the first of those who hold it.
inline bool is_first_replica(const Segment& segment, int world_rank) {
  return segment.replicas.size() <= 1 || segment.replicas.front() == world_rank;
}

// Values of `data` that other ranks still send.
class PendingData {
 public:
  virtual ~PendingData() = default;
  virtual void wait() = 0;
};

struct Parameter {
  std::string name;
  Tensor data;
  Tensor main_grad;
  bool has_grad = false;
  bool trainable = true;
  int uses = 1;  // a tied embedding whose head is on the same rank has 2
  std::vector<Segment> segments;
  mutable std::shared_ptr<PendingData> pending;

  const Tensor& full() const {
    if (pending) wait_for_data();
    return data;
  }
  void wait_for_data() const;
};

using ParameterVisitor = std::function<void(Parameter&)>;

// The view of `tensor` that `box` names.
Tensor view_of(const Tensor& tensor, const Box& box);

}  // namespace phalanx
