#include "phalanx/optim/optim_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

constexpr double kUsualMinLr = 3e-5;
// Steps times the largest batch, and samples, stay far from the end of int64.
constexpr int64_t kMostSteps = int64_t{1} << 40;
constexpr int64_t kMostSamples = int64_t{1} << 50;

class Problems {
 public:
  template <typename T>
  void require(bool holds, const char* field, const T& got, const std::string& needed,
               const std::string& fix) {
    if (holds) return;
    got_.push_back(fmt::format("{} {}", field, got));
    needed_.push_back(fmt::format("{}: {}", field, needed));
    fixes_.push_back(fix);
  }

  void throw_if_any() const {
    if (got_.empty()) return;
    throw Error(ErrorKind::kBadInput, {.where = "[optim]",
                                       .got = fmt::format("{}", fmt::join(got_, ", ")),
                                       .needed = fmt::format("{}", fmt::join(needed_, "; ")),
                                       .fix = fmt::format("{}", fmt::join(fixes_, "; "))});
  }

 private:
  std::vector<std::string> got_, needed_, fixes_;
};

void check_rates(const OptimConfig& c, Problems& problems) {
  const bool lr_holds = c.lr >= 0 && std::isfinite(c.lr);
  problems.require(lr_holds, "lr", c.lr, "a finite number of at least 0", "set lr to e.g. 3e-4");
  if (!lr_holds) return;  // nothing can be compared with it
  const double min_lr = c.resolved_min_lr();
  problems.require(min_lr >= 0 && min_lr <= c.lr, "min_lr", min_lr, fmt::format("0 to lr, which is {}", c.lr),
                   fmt::format("set min_lr to e.g. {}, or leave it out", c.lr / 10));
  problems.require(c.lr_warmup_init >= 0 && c.lr_warmup_init <= c.lr, "lr_warmup_init", c.lr_warmup_init,
                   fmt::format("0 to lr, which is {}", c.lr), "leave lr_warmup_init out, which means 0");
}

void check_length(const char* field, std::optional<int64_t> value, int64_t low, int64_t high,
                  Problems& problems) {
  const std::string other = low == 0 ? "set it to 0 or leave it out" : "give 1 or more, or leave it out";
  problems.require(!value || (*value >= low && *value <= high), field, value.value_or(0),
                   fmt::format("{} to {}", low, high), fmt::format("{}: {}", field, other));
}

void check_lengths(const OptimConfig& c, Problems& problems) {
  check_length("lr_decay_iters", c.lr_decay_iters, 1, kMostSteps, problems);
  check_length("lr_decay_samples", c.lr_decay_samples, 1, kMostSamples, problems);
  check_length("lr_warmup_iters", c.lr_warmup_iters, 0, kMostSteps, problems);
  check_length("lr_warmup_samples", c.lr_warmup_samples, 0, kMostSamples, problems);
  check_length("lr_wsd_decay_iters", c.lr_wsd_decay_iters, 1, kMostSteps, problems);
  check_length("lr_wsd_decay_samples", c.lr_wsd_decay_samples, 1, kMostSamples, problems);
  const auto one_of = [&problems](bool holds, const char* iters, const char* samples) {
    problems.require(holds, iters, fmt::format("and {} both given", samples), "one of the two",
                     fmt::format("drop {} or {}", iters, samples));
  };
  one_of(!(c.lr_decay_iters && c.lr_decay_samples), "lr_decay_iters", "lr_decay_samples");
  one_of(!(c.lr_warmup_iters > 0 && c.lr_warmup_samples > 0), "lr_warmup_iters", "lr_warmup_samples");
  one_of(!(c.lr_wsd_decay_iters && c.lr_wsd_decay_samples), "lr_wsd_decay_iters", "lr_wsd_decay_samples");
  one_of(!(c.lr_warmup_fraction && (c.lr_warmup_iters > 0 || c.lr_warmup_samples > 0)), "lr_warmup_fraction",
         c.lr_warmup_iters > 0 ? "lr_warmup_iters" : "lr_warmup_samples");
  const double fraction = c.lr_warmup_fraction.value_or(0);
  problems.require(fraction >= 0 && fraction < 1, "lr_warmup_fraction", fraction, "0 up to, but not, 1",
                   "set lr_warmup_fraction to e.g. 0.01");
  problems.require(c.lr_decay_style != LrDecayStyle::kWsd || c.lr_wsd_decay_iters || c.lr_wsd_decay_samples,
                   "lr_decay_style", "wsd without the length of its decay",
                   "lr_wsd_decay_iters or lr_wsd_decay_samples",
                   "set lr_wsd_decay_iters to e.g. a tenth of the steps");
}

void check_update(const OptimConfig& c, Problems& problems) {
  const auto finite = [](double value) { return std::isfinite(value); };
  problems.require(c.beta1 >= 0 && c.beta1 < 1, "beta1", c.beta1, "0 up to, but not, 1",
                   "set beta1 to e.g. 0.9");
  problems.require(c.beta2 >= 0 && c.beta2 < 1, "beta2", c.beta2, "0 up to, but not, 1",
                   "set beta2 to e.g. 0.95");
  problems.require(c.epsilon > 0 && finite(c.epsilon), "epsilon", c.epsilon, "a positive number",
                   "set epsilon to e.g. 1e-8");
  problems.require(c.weight_decay >= 0 && finite(c.weight_decay), "weight_decay", c.weight_decay,
                   "at least 0", "set weight_decay to e.g. 0.1, or to 0 for none");
  problems.require(c.clip_grad >= 0 && finite(c.clip_grad), "clip_grad", c.clip_grad, "at least 0",
                   "set clip_grad to e.g. 1.0, or to 0 for no clipping");
}

void check_loss_scale(const OptimConfig& c, Problems& problems) {
  const auto positive = [](double value) { return value > 0 && std::isfinite(value); };
  problems.require(!c.loss_scale || positive(*c.loss_scale), "loss_scale", c.loss_scale.value_or(0),
                   "a positive number", "leave loss_scale out for a dynamic one");
  problems.require(positive(c.min_loss_scale), "min_loss_scale", c.min_loss_scale, "a positive number",
                   "set min_loss_scale to 1");
  problems.require(c.initial_loss_scale >= c.min_loss_scale && std::isfinite(c.initial_loss_scale),
                   "initial_loss_scale", c.initial_loss_scale,
                   fmt::format("at least min_loss_scale, which is {}", c.min_loss_scale),
                   "set initial_loss_scale to e.g. 65536");
  problems.require(c.loss_scale_window >= 1, "loss_scale_window", c.loss_scale_window, "1 step or more",
                   "set loss_scale_window to e.g. 1000");
  problems.require(c.hysteresis >= 1, "hysteresis", c.hysteresis, "1 step or more", "set hysteresis to 2");
}

// A setting that nothing reads may not look as if it did something.
void refuse_loss_scale(const OptimConfig& c, Problems& problems) {
  const OptimConfig untouched;
  const auto refuse = [&problems](bool is_set, const char* field, double got) {
    problems.require(!is_set, field, got, "none: loss scaling belongs to fp16",
                     fmt::format("leave {} out, or train with train.dtype=fp16", field));
  };
  refuse(c.loss_scale.has_value(), "loss_scale", c.loss_scale.value_or(0));
  refuse(c.initial_loss_scale != untouched.initial_loss_scale, "initial_loss_scale", c.initial_loss_scale);
  refuse(c.min_loss_scale != untouched.min_loss_scale, "min_loss_scale", c.min_loss_scale);
  refuse(c.loss_scale_window != untouched.loss_scale_window, "loss_scale_window",
         static_cast<double>(c.loss_scale_window));
  refuse(c.hysteresis != untouched.hysteresis, "hysteresis", static_cast<double>(c.hysteresis));
}

}  // namespace

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

double OptimConfig::resolved_min_lr() const {
  return min_lr.value_or(std::min(kUsualMinLr, lr));
}

void resolve(OptimConfig& config) {
  config.min_lr = config.resolved_min_lr();
}

void validate(const OptimConfig& c, bool fp16) {
  Problems problems;
  check_rates(c, problems);
  check_lengths(c, problems);
  check_update(c, problems);
  fp16 ? check_loss_scale(c, problems) : refuse_loss_scale(c, problems);
  problems.throw_if_any();
}

}  // namespace phalanx
