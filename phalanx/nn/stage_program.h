// File: phalanx/nn/stage_program.h
//
// Purpose: what the executor runs without knowing what it is: the chunks of one rank, each a stage of the model.
// Contract: `forward` of a chunk takes the boundary tensor that the stage before left (undefined for stage 0) and returns
//   what the next one gets, or nll [T] from the last stage. `backward` is its mirror; the last stage gets
//   Batch::loss_weight. Side inputs that a stage reads and an earlier one made travel with the boundary tensor: their
//   names are `side_into(stage)`, the same list on both sides of the boundary. What a stage passes on and does not read
//   is on the list, too. Their gradients travel back by the same names.
// Shapes: boundary and side tensors are those of the micro-batch at hand, and the same for every rank of a stage.
#pragma once

#include <string>
#include <vector>

#include "phalanx/tensor/batch.h"
#include "phalanx/tensor/side.h"
#include "phalanx/tensor/stash.h"
#include "phalanx/tensor/weight_grads.h"

namespace phalanx {

struct TensorSpec {
  std::string name;  // of a side input; "" is the boundary tensor
  std::vector<int64_t> shape;
  at::ScalarType dtype = at::kFloat;
};

class StageProgram {
 public:
  virtual ~StageProgram() = default;
  virtual Tensor forward(int chunk, const Tensor& x, const Batch& batch, Side& side, Stash& stash) = 0;
  virtual Tensor backward(int chunk, const Tensor& dy, const Batch& batch, Side& side, Stash& stash,
                          WeightGrads& grads) = 0;
  virtual TensorSpec boundary(const Batch& batch) const = 0;
  virtual std::vector<TensorSpec> side_into(int stage, const Batch& batch) const = 0;
  virtual at::Device device() const = 0;
};

}  // namespace phalanx
