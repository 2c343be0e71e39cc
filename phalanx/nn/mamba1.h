// File: phalanx/nn/mamba1.h
//
// Purpose: the Mamba-1 branch of a residual layer, its norm included.
// Equations: u = norm(x);  [x | z] = u W_in^T;  x = silu(conv(x));  [delta_low | B | C] = x W_x^T;
//   dt = delta_low W_dt^T;  o = scan(x, dt, z, B, C), gated (kernels/selective_scan/selective_scan.h);  out = o W_out^T.
// Shapes (C inner channels, N states, r the rank of dt): x and out [T, H]; W_in [2 C, H], W_x [r + 2 N, C], W_dt [C, r]; C
//   is this rank's. With sharded rows x and out have T / n rows; everything between W_in and W_out has all T.
// Stash: x, mean, rstd (u is rebuilt), what W_in and W_x gave, the state before each chunk, o. The convolution and dt are
//   made again in backward.
// Contract: channels are split over the tensor group. What W_x gives is summed over it, and so is its gradient, which
//   each rank has from its own channels: one all-reduce each way. step as in nn/mamba2.h.
// Sources: Gu & Dao 2023; models.md 1.
#pragma once

#include "phalanx/kernels/causal_conv1d/causal_conv1d.h"
#include "phalanx/kernels/selective_scan/selective_scan.h"
#include "phalanx/nn/linear.h"
#include "phalanx/nn/module.h"
#include "phalanx/nn/norm.h"
#include "phalanx/nn/rows.h"

namespace phalanx::nn {

struct Mamba1Shape {
  int64_t cache_layer = 0;  // in Cache
  int64_t inner = 0;        // of this rank
  int64_t state_dim = 0;
  int64_t dt_rank = 0;
  int64_t conv_kernel = 0;
};

class Mamba1 : public Module {
 public:
  struct Parts {
    Norm norm;
    Linear in;
    Parameter* conv_weight = nullptr;
    Parameter* conv_bias = nullptr;  // may be nullptr
    Linear x_proj;                   // kRow
    Linear dt_proj;  // kReplicated: its input is on every rank, its rows are this rank's channels
    Parameter* dt_bias = nullptr;
    Parameter* A_log = nullptr;
    Parameter* D = nullptr;
    Linear out;
  };

  Mamba1(Parts parts, const Mamba1Shape& shape, comm::Group& tensor_group);
  Tensor forward(const Tensor& x_TH, const Batch& batch, Side& side, Stash& stash) override;
  Tensor backward(const Tensor& dy_TH, const Batch& batch, Side& side, Stash& stash,
                  WeightGrads& grads) override;
  Tensor step(const Tensor& x_TH, const Batch& batch, Side& side, Cache& cache) override;
  void visit_parameters(const ParameterVisitor& visit) override;

 private:
  kernels::ConvInputs conv_inputs(const Tensor& x, const Tensor& document) const;
  // Of tensors [.., channels] with equal leading dims; `low` is what W_x gave.
  kernels::ScanInputs scan_inputs(const Tensor& x, const Tensor& dt, const Tensor& z,
                                  const Tensor& low) const;
  Tensor step_run(const Tensor& in_TI, const SlotRun& run, Cache& cache) const;

  Parts parts_;
  Mamba1Shape shape_;
  comm::Group* group_;
};

}  // namespace phalanx::nn
