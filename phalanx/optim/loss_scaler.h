// File: phalanx/optim/loss_scaler.h
//
// Purpose: the loss scale of fp16: gradients are multiplied by it so that small ones do not vanish; the optimizer's
//   inverse_scale takes it out again.
// Contract: fp16 only; otherwise, and with a fixed loss_scale, the scale never changes (1 without fp16). Dynamic: a step
//   whose norm was not finite was skipped; `hysteresis` of them halve the scale (not below min_loss_scale), and
//   loss_scale_window good steps in a row double it. As in Megatron, growth alone refills the hysteresis: after the first
//   halving each further bad step halves again. Every rank gets the same norm, so all scalers agree without a message.
// Use: loss weight = scale() / N; result = optimizer.step(lr, 1 / scale()); update(result.applied).
// Source: megatron.md 1.3; Micikevicius et al. 2018.
#pragma once

#include <cstdint>
#include <string>

#include "phalanx/base/json.h"
#include "phalanx/optim/optim_config.h"

namespace phalanx {

class LossScaler {
 public:
  LossScaler(const OptimConfig& config, bool fp16);

  double scale() const { return scale_; }
  bool is_dynamic() const { return dynamic_; }
  void update(bool finite);

  // {"scale", "good_steps", "hysteresis_left"}. A scaler that is not dynamic takes nothing of what was stored.
  Json to_json() const;
  void from_json(const Json& json, const std::string& where);

 private:
  OptimConfig config_;
  bool dynamic_ = false;
  double scale_ = 1.0;
  int64_t good_steps_ = 0;
  int64_t hysteresis_left_ = 0;
};

}  // namespace phalanx
