// File: phalanx/optim/optim_config.h
//
// Purpose: the `optim` section: optimizer, learning-rate schedule, clipping, loss scaling.
// Contract: plain data by config/fields.h; validate throws one Error(kBadInput) listing every violation, each with what
//   was got and a value that would do. Whether a warm-up fits a run is known to LrSchedule, which refuses it too.
// Units: *_iters in steps, *_samples in samples (only one of a pair may be given); zero or "none" means derive.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "phalanx/config/fields.h"

namespace phalanx {

enum class OptimizerKind { kAdamW };
enum class LrDecayStyle { kConstant, kLinear, kCosine, kInverseSquareRoot, kWsd };
enum class WsdDecayStyle { kExponential, kLinear, kCosine, kMinusSqrt };

std::span<const EnumName<OptimizerKind>> enum_names(OptimizerKind);
std::span<const EnumName<LrDecayStyle>> enum_names(LrDecayStyle);
std::span<const EnumName<WsdDecayStyle>> enum_names(WsdDecayStyle);

struct OptimConfig {
  OptimizerKind optimizer = OptimizerKind::kAdamW;
  double lr = 3e-4;
  std::optional<double> min_lr;
  LrDecayStyle lr_decay_style = LrDecayStyle::kCosine;
  std::optional<int64_t> lr_decay_iters;
  std::optional<int64_t> lr_decay_samples;
  int64_t lr_warmup_iters = 0;
  int64_t lr_warmup_samples = 0;
  std::optional<double> lr_warmup_fraction;
  double lr_warmup_init = 0.0;
  WsdDecayStyle lr_wsd_decay_style = WsdDecayStyle::kExponential;
  std::optional<int64_t> lr_wsd_decay_iters;
  std::optional<int64_t> lr_wsd_decay_samples;
  double weight_decay = 0.1;
  double clip_grad = 1.0;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  std::optional<double> loss_scale;
  double initial_loss_scale = 4294967296.0;
  double min_loss_scale = 1.0;
  int64_t loss_scale_window = 1000;
  int64_t hysteresis = 2;

  // min_lr, or what it is when nobody gave it: 3e-5, but never above lr.
  double resolved_min_lr() const;

  template <typename Visitor>
  void visit_fields(Visitor& v) {
    v.field("optimizer", optimizer, "update rule");
    v.field("lr", lr, "highest learning rate");
    v.field("min_lr", min_lr, "learning rate after the decay; none means 3e-5, or lr if that is lower");
    v.field("lr_decay_style", lr_decay_style, "shape of the decay");
    v.field("lr_decay_iters", lr_decay_iters, "steps until min_lr; none means the whole run");
    v.field("lr_decay_samples", lr_decay_samples, "samples until min_lr; none means the whole run");
    v.field("lr_warmup_iters", lr_warmup_iters, "steps of linear warm-up");
    v.field("lr_warmup_samples", lr_warmup_samples, "samples of linear warm-up");
    v.field("lr_warmup_fraction", lr_warmup_fraction, "warm-up as a share of the decay length");
    v.field("lr_warmup_init", lr_warmup_init, "learning rate at the first step of the warm-up");
    v.field("lr_wsd_decay_style", lr_wsd_decay_style,
            "shape of the last part of a warm-up-stable-decay schedule");
    v.field("lr_wsd_decay_iters", lr_wsd_decay_iters, "steps of that last part");
    v.field("lr_wsd_decay_samples", lr_wsd_decay_samples, "samples of that last part");
    v.field("weight_decay", weight_decay, "decoupled weight decay of matrices; biases and norms have none");
    v.field("clip_grad", clip_grad, "largest global gradient norm; 0 switches clipping off");
    v.field("beta1", beta1, "decay of the first moment");
    v.field("beta2", beta2, "decay of the second moment");
    v.field("epsilon", epsilon, "added to the root of the second moment");
    v.field("loss_scale", loss_scale, "fixed loss scale for fp16; none means dynamic");
    v.field("initial_loss_scale", initial_loss_scale, "first dynamic loss scale");
    v.field("min_loss_scale", min_loss_scale, "lowest dynamic loss scale");
    v.field("loss_scale_window", loss_scale_window, "good steps before the dynamic scale doubles");
    v.field("hysteresis", hysteresis, "overflows before the dynamic scale halves");
  }
};

// Loss scaling is refused where nothing reads it: anywhere but in fp16.
void validate(const OptimConfig& config, bool fp16 = false);

// Writes out what was left to derive, so that the printed config shows it.
void resolve(OptimConfig& config);

}  // namespace phalanx
