// File: phalanx/optim/optimizer.h
//
// Purpose: AdamW over flat buffers. Main gradients, masters and moments of all trainable parameters lie in one buffer
//   each, so that an update, a norm or (later) a reduction is a few passes over contiguous memory.
// Contract: construction moves every trainable parameter's storage: main_grad becomes a view of the flat gradient; when
//   the compute dtype is the accumulator's, `data` becomes a view of the master itself (no second copy). Parameters with
//   weight decay come first, so a decay setting is one range. Gradients are in fp32 (fp64 under fp64).
//   step: norm over all gradients (before clipping), one clip factor, update; a norm that is not finite skips the
//   update and says so. Padding between parameters holds zeros and stays zero.
// Units: bytes() counts masters, gradients and moments.
#pragma once

#include <vector>

#include "phalanx/kernels/adamw/adamw.h"
#include "phalanx/optim/optim_config.h"
#include "phalanx/tensor/parameter.h"

namespace phalanx {

class Optimizer {
 public:
  Optimizer(std::vector<Parameter*> parameters, const OptimConfig& config, at::ScalarType accumulator);

  struct StepResult {
    double grad_norm = 0;  // before clipping, loss scale removed
    bool applied = false;  // false: the norm was not finite, nothing changed
  };
  // `inverse_scale` undoes a loss scale.
  StepResult step(double lr, double inverse_scale);
  // Forgets this step's gradients; the next contribution overwrites.
  void finish_step();

  int64_t updates() const { return updates_; }
  void set_updates(int64_t updates) { updates_ = updates; }
  int64_t bytes() const;
  double weight_norm() const;

  // What a checkpoint holds for each parameter, as views shaped like `data`.
  struct State {
    Parameter* parameter;
    Tensor master;
    Tensor exp_avg;
    Tensor exp_avg_sq;
  };
  std::vector<State> state() const;
  bool has_separate_masters() const { return compute_copy_.defined(); }
  // After masters were loaded: refresh the compute copies. After weights alone were loaded: refresh the masters.
  void masters_changed();
  void weights_changed();

 private:
  void update_range(int64_t begin, int64_t end, double weight_decay, const Tensor& scalars);

  std::vector<Parameter*> parameters_;
  std::vector<int64_t> offsets_;
  int64_t decay_end_ = 0;  // [0, decay_end_) decays
  OptimConfig config_;
  Tensor master_;
  Tensor grad_;
  Tensor exp_avg_;
  Tensor exp_avg_sq_;
  Tensor compute_copy_;  // flat weights in the compute dtype; undefined when master_ serves
  int64_t updates_ = 0;
};

}  // namespace phalanx
