// File: phalanx/nn/linear.h
//
// Purpose: the matrix product of every layer, with its two gradients and the collectives of its shard rule.
// Equations: y = x W^T + b;  dx = dy W;  dW = dy^T x;  db = column sums of dy.
// Shapes: x [T, I], W [O, I], b [O], y [T, O]; I and O are what this rank holds. Activations are in the dtype
//   of W; dW and db go into the main gradients in theirs.
// Contract: a piece of a layer, not a Module: the layer decides what is stashed and hands x back to backward.
//   kColumn (rows of W are split): x is whole on every rank, y a part; backward sums dx over the group.
//   kRow (columns of W are split): x is a part; forward sums y over the group, then adds b once.
//   kReplicated: no collective. A group of one never communicates.
//   With `sharded` rows the side that meets the residual stream (x of kColumn, y of kRow) has T / n of them: forward
//   gathers x or scatters the sum, backward gathers x again and dy. The gathered x is never kept, so backward wants the
//   local one; db of kRow is then this rank's part.
//   dW goes through WeightGrads::defer, so a split schedule can run it later (it then holds the local pieces and gathers
//   when it runs); db is applied at once. When dW runs at once, kColumn works beside its collectives: the re-gather of x
//   travels beside dx = dy W, the sum of dx beside dW.
// Sources: Shoeybi et al. 2019 (column and row parallel linears); Korthikanti et al. 2022 (sequence parallelism).
#pragma once

#include "phalanx/arch/parameter_table.h"
#include "phalanx/comm/group.h"
#include "phalanx/kernels/gemm/gemm.h"
#include "phalanx/tensor/parameter.h"
#include "phalanx/tensor/weight_grads.h"

namespace phalanx::nn {

class Linear {
 public:
  // `bias` may be nullptr. Everything outlives the Linear.
  Linear(Parameter* weight, Parameter* bias, ShardRule rule, comm::Group& group, const kernels::Gemm& gemm);

  Tensor forward(const Tensor& x_TI, bool sharded = false) const;
  // Takes x over, so that a rebuilt x is freed before dx is made (where dx does not travel beside dW).
  Tensor backward(const Tensor& dy_TO, Tensor x_TI, WeightGrads& grads, bool sharded = false) const;
  void visit_parameters(const ParameterVisitor& visit) const;

 private:
  void add_bias_gradient(const Tensor& dy_TO, WeightGrads& grads) const;
  Tensor backward_column(const Tensor& dy_TO, Tensor x_TI, WeightGrads& grads, bool sharded) const;
  Tensor backward_sharded_row(const Tensor& dy_TO, Tensor x_TI, WeightGrads& grads) const;

  Parameter* weight_;
  Parameter* bias_;
  ShardRule rule_;
  comm::Group* group_;
  const kernels::Gemm* gemm_;
};

}  // namespace phalanx::nn
