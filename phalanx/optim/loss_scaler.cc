#include "phalanx/optim/loss_scaler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

constexpr double kGrowth = 2.0;
constexpr double kBackOff = 0.5;

}  // namespace

LossScaler::LossScaler(const OptimConfig& config, bool fp16)
    : config_(config), dynamic_(fp16 && !config.loss_scale), hysteresis_left_(config.hysteresis) {
  if (fp16) scale_ = config.loss_scale.value_or(config.initial_loss_scale);
}

void LossScaler::update(bool finite) {
  if (!dynamic_) return;
  if (!finite) {
    good_steps_ = 0;
    if (--hysteresis_left_ <= 0) scale_ = std::max(scale_ * kBackOff, config_.min_loss_scale);
    return;
  }
  if (++good_steps_ < config_.loss_scale_window) return;
  good_steps_ = 0;
  hysteresis_left_ = config_.hysteresis;
  scale_ *= kGrowth;
}

Json LossScaler::to_json() const {
  return {{"scale", scale_}, {"good_steps", good_steps_}, {"hysteresis_left", hysteresis_left_}};
}

void LossScaler::from_json(const Json& json, const std::string& where) {
  if (!dynamic_) return;
  const auto scale = json_get<double>(json, "scale", where);
  if (!std::isfinite(scale) || scale <= 0) {
    throw Error(ErrorKind::kBadInput, {.where = where,
                                       .got = fmt::format("a loss scale of {}", scale),
                                       .needed = "a positive number",
                                       .fix = "the checkpoint is damaged; use an earlier one"});
  }
  scale_ = scale;
  good_steps_ = json_get<int64_t>(json, "good_steps", where);
  hysteresis_left_ = json_get<int64_t>(json, "hysteresis_left", where);
}

}  // namespace phalanx
