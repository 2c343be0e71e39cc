#include "phalanx/optim/lr_schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "phalanx/base/error.h"

namespace phalanx {

LrSchedule::LrSchedule(const OptimConfig& config, int64_t train_samples, int64_t global_batch_size)
    : config_(config), min_lr_(config.resolved_min_lr()) {
  const auto from_steps = [&](int64_t steps) { return static_cast<double>(steps * global_batch_size); };
  decay_ = static_cast<double>(train_samples);
  if (config.lr_decay_iters) decay_ = from_steps(*config.lr_decay_iters);
  if (config.lr_decay_samples) decay_ = static_cast<double>(*config.lr_decay_samples);

  warmup_ = config.lr_warmup_samples > 0 ? static_cast<double>(config.lr_warmup_samples)
                                         : from_steps(config.lr_warmup_iters);
  if (config.lr_warmup_fraction) warmup_ = *config.lr_warmup_fraction * decay_;

  if (train_samples > 0 && warmup_ > 0 && warmup_ >= decay_) {
    throw Error(ErrorKind::kBadInput,
                {.where = "[optim]",
                 .got = fmt::format("a warm-up of {} samples, and the learning rate falls until sample {}",
                                    warmup_, decay_),
                 .needed = "a warm-up that ends before the decay does",
                 .fix = "set lr_warmup_iters (or lr_warmup_samples) lower, or train longer"});
  }

  if (config.lr_wsd_decay_iters) wsd_ = from_steps(*config.lr_wsd_decay_iters);
  if (config.lr_wsd_decay_samples) wsd_ = static_cast<double>(*config.lr_wsd_decay_samples);
}

double LrSchedule::decay_coefficient(double n) const {
  const double r = (n - warmup_) / (decay_ - warmup_);
  switch (config_.lr_decay_style) {
    case LrDecayStyle::kLinear:
      return 1.0 - r;
    case LrDecayStyle::kCosine:
      return 0.5 * (std::cos(std::numbers::pi * r) + 1.0);
    case LrDecayStyle::kWsd:
      break;
    default:
      return 1.0;
  }
  if (n <= decay_ - wsd_) return 1.0;
  const double q = (n - (decay_ - wsd_)) / wsd_;
  switch (config_.lr_wsd_decay_style) {
    case WsdDecayStyle::kExponential:
      return 2.0 * std::pow(0.5, q) - 1.0;
    case WsdDecayStyle::kLinear:
      return 1.0 - q;
    case WsdDecayStyle::kCosine:
      return 0.5 * (std::cos(std::numbers::pi * q) + 1.0);
    case WsdDecayStyle::kMinusSqrt:
      return 1.0 - std::sqrt(q);
  }
  return 1.0;
}

double LrSchedule::at(int64_t consumed_samples) const {
  const auto n = static_cast<double>(consumed_samples);
  if (warmup_ > 0 && n <= warmup_) {
    return config_.lr_warmup_init + (config_.lr - config_.lr_warmup_init) * n / warmup_;
  }
  if (config_.lr_decay_style == LrDecayStyle::kConstant) return config_.lr;
  if (n > decay_) return min_lr_;
  if (config_.lr_decay_style == LrDecayStyle::kInverseSquareRoot) {
    const double scaled = config_.lr * std::sqrt(std::max(warmup_, 1.0)) / std::sqrt(std::max(n, 1.0));
    return std::max(min_lr_, scaled);
  }
  return min_lr_ + decay_coefficient(n) * (config_.lr - min_lr_);
}

}  // namespace phalanx
