// File: phalanx/nn/mamba2.h
//
// Purpose: the Mamba-2 branch of a residual layer, its norm included.
// Equations: u = norm(x);  [z | x | B | C | dt] = u W_in^T;  [x | B | C] = silu(conv([x | B | C]));
//   y = ssd(x, dt, B, C) (kernels/ssd/ssd.h);  o = gated_norm(y, z) (kernels/gated_norm/gated_norm.h);  out = o W_out^T.
// Shapes (R heads of P channels, G groups of N states, d = R P): x and out [T, H]; the five of W_in [T, d + d + 2 G N + R].
//   R and G are this rank's; with fewer groups than ranks, G = 1 and neighbours hold the same group. With sharded rows
//   x and out have T / n rows; everything between the two linears has all T.
// Stash: x, mean, rstd (u is rebuilt), what W_in gave, y, the norm's rstd. The convolution and the states of chunks are made
//   again in backward, o rebuilt.
// Contract: heads are split over the tensor group, a head with its group. A norm group that spans ranks sums its squares
//   over them (kernels/gated_norm). B and C rows that ranks share have partial gradients. Document boundaries reset the
//   convolution and the state. step: rows of one slot are consecutive and in order; window and state wait in the cache.
// Sources: Dao & Gu 2024, section 7; Waleffe et al. 2024; models.md 2.
#pragma once

#include "phalanx/kernels/causal_conv1d/causal_conv1d.h"
#include "phalanx/kernels/gated_norm/gated_norm.h"
#include "phalanx/kernels/ssd/ssd.h"
#include "phalanx/nn/linear.h"
#include "phalanx/nn/module.h"
#include "phalanx/nn/norm.h"
#include "phalanx/nn/rows.h"

namespace phalanx::nn {

struct Mamba2Shape {
  int64_t cache_layer = 0;  // in Cache
  int64_t num_heads = 0;    // of this rank, as the next
  int64_t num_groups = 0;
  int64_t head_dim = 0;
  int64_t state_dim = 0;
  int64_t conv_kernel = 0;

  int64_t inner() const { return num_heads * head_dim; }
  int64_t conv_width() const { return inner() + 2 * num_groups * state_dim; }
};

class Mamba2 : public Module {
 public:
  struct Parts {
    Norm norm;
    Linear in;
    Parameter* conv_weight = nullptr;
    Parameter* conv_bias = nullptr;  // may be nullptr
    Parameter* dt_bias = nullptr;
    Parameter* A_log = nullptr;
    Parameter* D = nullptr;
    Parameter* gate_norm = nullptr;
    Linear out;
  };

  Mamba2(Parts parts, const Mamba2Shape& shape, const kernels::SsdSpec& ssd,
         const kernels::GatedNormSpec& gate_norm);
  Tensor forward(const Tensor& x_TH, const Batch& batch, Side& side, Stash& stash) override;
  Tensor backward(const Tensor& dy_TH, const Batch& batch, Side& side, Stash& stash,
                  WeightGrads& grads) override;
  Tensor step(const Tensor& x_TH, const Batch& batch, Side& side, Cache& cache) override;
  void visit_parameters(const ParameterVisitor& visit) override;

 private:
  // Columns of what W_in gives, or of its gradient.
  struct Columns {
    Tensor z;
    Tensor xBC;
    Tensor dt;
  };
  Columns split(const Tensor& in_TI) const;
  kernels::ConvInputs conv_inputs(const Tensor& xBC_TC, const Batch& batch) const;
  // x, B and C of a convolution's output [.., conv_width], or of its gradient.
  struct Branches {
    Tensor x;
    Tensor B;
    Tensor C;
  };
  Branches branches(const Tensor& conv) const;
  kernels::SsdInputs ssd_inputs(const Tensor& conv, const Tensor& dt) const;
  // Of one sequence that has any number of new rows.
  Tensor step_run(const Columns& in, const SlotRun& run, Cache& cache) const;

  Parts parts_;
  Mamba2Shape shape_;
  kernels::SsdSpec ssd_;
  kernels::GatedNormSpec gate_norm_;
};

}  // namespace phalanx::nn
