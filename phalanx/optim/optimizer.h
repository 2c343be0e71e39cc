// File: phalanx/optim/optimizer.h
//
// Purpose: AdamW over flat buffers (flat_layout.h): weights, main gradients, masters and moments of all trainable
//   parameters lie in one buffer each, so that an update, a norm or a reduction is a few passes over contiguous memory.
// Contract: construction moves every trainable parameter's storage: main_grad becomes a view of the flat gradient and
//   `data` one of the flat weights. When all weights are in the accumulator's dtype, they are the masters (no second
//   copy); in a half model every parameter has a master, also the few that are kept in fp32. Gradients are in fp32 (fp64
//   under fp64).
//   step: sums gradients over the other ranks (grad_buckets.h), one norm of all logical elements, each counted once
//   (before clipping), one clip factor, update. All ranks get the same bits of the norm; one that is not finite skips
//   the update on all of them and says so.
//   ZeRO-1: this rank updates its share of every bucket, and the others' shares arrive behind Parameter::full().
//   With several ranks, construction, step, weight_norm and masters_changed are met by all of them.
// Units: bytes() counts what this rank holds: masters (fp32 weights that are their own masters: the share that it
//   updates), gradients and moments.
// Source: ZeRO-1: Rajbhandari et al. 2020; clipping by max_norm / (norm + 1e-6) as Megatron does.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "phalanx/kernels/adamw/adamw.h"
#include "phalanx/optim/grad_buckets.h"
#include "phalanx/optim/optim_config.h"
#include "phalanx/optim/optim_parallel.h"
#include "phalanx/tensor/parameter.h"

namespace phalanx {

class Optimizer {
 public:
  Optimizer(std::vector<Parameter*> parameters, const OptimConfig& config, at::ScalarType accumulator,
            OptimParallel parallel = {});
  ~Optimizer();
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  // Before the first backward of a step, and after each applied gradient (WeightGrads::on_applied); see grad_buckets.h.
  void begin_step(int64_t micro_batches) { buckets_->begin_step(micro_batches); }
  void on_applied(const Parameter& parameter) { buckets_->on_applied(parameter); }

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

  // What this rank holds of a logical tensor's state, as views of the global box. Under ZeRO-1 that is a share.
  struct State {
    const Parameter* parameter = nullptr;
    const Segment* segment = nullptr;
    Box box;
    Tensor master;
    Tensor exp_avg;
    Tensor exp_avg_sq;
    bool writes = false;  // whether a checkpoint takes this box from this rank
  };
  std::vector<State> state() const;
  bool has_separate_masters() const { return separate_masters_; }
  const OptimParallel& parallel() const { return parallel_; }
  // After masters were loaded: refresh the compute copies. After weights alone were loaded: refresh the masters.
  void masters_changed();
  void weights_changed();

 private:
  class Gather;

  void place_parameters(const std::vector<Parameter*>& parameters, at::ScalarType accumulator);
  // Over the counted ranges of all buckets.
  double norm_of(const std::function<Tensor(size_t, FlatRange)>& elements) const;
  void update(size_t bucket, FlatRange range, double weight_decay, const Tensor& scalars);
  void start_gather(size_t bucket);
  void wait_for_gathers();
  Tensor weights_of(size_t bucket, FlatRange range) const;
  Tensor masters_of(size_t bucket, FlatRange range) const;

  OptimConfig config_;
  OptimParallel parallel_;
  FlatLayout layout_;
  at::Device device_ = at::kCPU;
  bool separate_masters_ = false;
  std::vector<Tensor> weights_;  // of each bucket, flat, in its dtype
  Tensor grad_;                  // [layout size]
  Tensor master_;                // [state size]; undefined when the weights serve
  Tensor exp_avg_;               // [state size]
  Tensor exp_avg_sq_;            // [state size]
  std::unique_ptr<GradBuckets> buckets_;
  std::vector<std::shared_ptr<Gather>> gathers_;
  int64_t updates_ = 0;
};

}  // namespace phalanx
