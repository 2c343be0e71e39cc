#include "phalanx/optim/optim_config.h"

#include <array>
#include <cmath>

#include "phalanx/base/error.h"

namespace phalanx {

std::span<const EnumName<OptimizerKind>> enum_names(OptimizerKind) {
  static constexpr std::array names = {EnumName<OptimizerKind>{OptimizerKind::kAdamW, "adamw"}};
  return names;
}

std::span<const EnumName<LrDecayStyle>> enum_names(LrDecayStyle) {
  using E = EnumName<LrDecayStyle>;
  static constexpr std::array names = {E{LrDecayStyle::kConstant, "constant"},
                                       E{LrDecayStyle::kLinear, "linear"}, E{LrDecayStyle::kCosine, "cosine"},
                                       E{LrDecayStyle::kInverseSquareRoot, "inverse_square_root"},
                                       E{LrDecayStyle::kWsd, "wsd"}};
  return names;
}

std::span<const EnumName<WsdDecayStyle>> enum_names(WsdDecayStyle) {
  using E = EnumName<WsdDecayStyle>;
  static constexpr std::array names = {
      E{WsdDecayStyle::kExponential, "exponential"}, E{WsdDecayStyle::kLinear, "linear"},
      E{WsdDecayStyle::kCosine, "cosine"}, E{WsdDecayStyle::kMinusSqrt, "minus_sqrt"}};
  return names;
}

void validate(const OptimConfig& c) {
  std::string problems;
  const auto require = [&problems](bool holds, const std::string& text) {
    if (!holds) problems += (problems.empty() ? "" : "; ") + text;
  };
  require(c.lr >= 0 && std::isfinite(c.lr), "optim.lr must be finite and at least 0");
  require(c.min_lr >= 0 && c.min_lr <= c.lr, "optim.min_lr must lie between 0 and optim.lr");
  require(!(c.lr_decay_iters && c.lr_decay_samples),
          "give one of optim.lr_decay_iters and optim.lr_decay_samples");
  require(!(c.lr_warmup_iters > 0 && c.lr_warmup_samples > 0),
          "give one of optim.lr_warmup_iters and optim.lr_warmup_samples");
  require(c.lr_warmup_iters >= 0 && c.lr_warmup_samples >= 0, "warm-up lengths must be at least 0");
  require(!c.lr_warmup_fraction || (*c.lr_warmup_fraction >= 0 && *c.lr_warmup_fraction < 1),
          "optim.lr_warmup_fraction must lie in [0, 1)");
  require(c.lr_decay_style != LrDecayStyle::kWsd || c.lr_wsd_decay_iters || c.lr_wsd_decay_samples,
          "optim.lr_decay_style = wsd needs optim.lr_wsd_decay_iters or optim.lr_wsd_decay_samples");
  require(c.beta1 >= 0 && c.beta1 < 1 && c.beta2 >= 0 && c.beta2 < 1,
          "optim.beta1 and beta2 must lie in [0, 1)");
  require(c.epsilon > 0, "optim.epsilon must be positive");
  require(c.weight_decay >= 0, "optim.weight_decay must be at least 0");
  require(c.clip_grad >= 0, "optim.clip_grad must be at least 0");
  if (problems.empty()) return;
  throw Error(ErrorKind::kBadInput, {.where = "[optim]", .needed = problems, .fix = "change these settings"});
}

}  // namespace phalanx
