#include "phalanx/telemetry/outliers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

constexpr int kStateVersion = 1;

std::string_view classify(double value) {
  if (std::isnan(value)) return "NaN";
  return value > 0 ? "infinite" : "minus infinite";
}

void append_sentence(std::string& message, int64_t step, const std::string& words) {
  message += message.empty() ? fmt::format("step {}: {}", step, words) : "; " + words;
}

}  // namespace

ZScoreWindow::ZScoreWindow(size_t window) : window_(window) {
  PHALANX_CHECK(window >= 2, "a spread needs two values");
}

ZScoreWindow::Score ZScoreWindow::observe(double value, double threshold) {
  PHALANX_CHECK(std::isfinite(value), "only finite values have a z-score");
  values_.push_back(value);
  if (values_.size() <= window_) return {.z = std::numeric_limits<double>::quiet_NaN()};

  const double oldest = values_.front();
  values_.pop_front();
  const auto count = static_cast<double>(window_);
  double sum = 0;
  for (const double v : values_) sum += v / count;
  const double mean = sum;
  double variance = 0;
  for (const double v : values_) variance += (v - mean) * (v - mean) / count;
  const double spread = std::max(std::sqrt(variance), kMinRelativeSpread * std::abs(mean));
  Score score{.z = spread > 0 ? (value - mean) / spread : 0.0, .mean = mean};
  score.spike = threshold > 0 && score.z > threshold;

  spikes_in_a_row_ = score.spike ? spikes_in_a_row_ + 1 : 0;
  if (score.spike && spikes_in_a_row_ < kMaxSpikesInARow) {
    values_.pop_back();
    values_.push_front(oldest);
  }
  return score;
}

Json ZScoreWindow::to_json() const {
  return Json{{"values", std::vector<double>(values_.begin(), values_.end())},
              {"spikes_in_a_row", spikes_in_a_row_}};
}

void ZScoreWindow::from_json(const Json& state, const std::string& where) {
  if (!state.is_object()) throw_json_field(where, "values", state.dump(), "an object");
  auto values = json_get<std::vector<double>>(state, "values", where);
  const int spikes = json_get<int>(state, "spikes_in_a_row", where);
  if (spikes < 0) throw_json_field(where, "spikes_in_a_row", std::to_string(spikes), "0 or more");
  if (values.size() > window_)
    values.erase(values.begin(), values.end() - static_cast<std::ptrdiff_t>(window_));
  values_.assign(values.begin(), values.end());
  spikes_in_a_row_ = spikes;
}

OutlierDetector::OutlierDetector(OutlierOptions options)
    : options_(options), loss_(options.window), grad_norm_(options.window) {}

OutlierVerdict OutlierDetector::observe(int64_t step, double loss, double grad_norm) {
  const double unknown = std::numeric_limits<double>::quiet_NaN();
  OutlierVerdict verdict{.loss_z = unknown, .grad_norm_z = unknown};
  const auto check = [&](std::string_view name, double value, ZScoreWindow& window, double threshold,
                         OutlierKind kind, double& z) {
    if (!std::isfinite(value)) {
      verdict.kind = OutlierKind::kNonFinite;
      append_sentence(verdict.message, step, fmt::format("{} is {}", name, classify(value)));
      return;
    }
    const ZScoreWindow::Score score = window.observe(value, threshold);
    z = score.z;
    if (!score.spike) return;
    if (verdict.ok()) verdict.kind = kind;
    append_sentence(
        verdict.message, step,
        fmt::format("{} {:.4g} is {:.1f} standard deviations above its mean {:.4g} of the last {} steps",
                    name, value, score.z, score.mean, options_.window));
  };
  check("loss", loss, loss_, options_.loss_z, OutlierKind::kLossSpike, verdict.loss_z);
  check("gradient norm", grad_norm, grad_norm_, options_.grad_norm_z, OutlierKind::kGradNormSpike,
        verdict.grad_norm_z);
  return verdict;
}

Json OutlierDetector::to_json() const {
  return Json{{"version", kStateVersion}, {"loss", loss_.to_json()}, {"grad_norm", grad_norm_.to_json()}};
}

void OutlierDetector::from_json(const Json& state, const std::string& where) {
  if (!state.is_object()) throw_json_field(where, "version", state.dump(), "an object");
  const int version = json_get<int>(state, "version", where);
  if (version != kStateVersion) throw_json_field(where, "version", std::to_string(version), "1");
  // Both are read before either is replaced: a bad state leaves the detector as it was.
  ZScoreWindow loss(options_.window);
  ZScoreWindow grad_norm(options_.window);
  loss.from_json(json_get<Json>(state, "loss", where), where + ": loss");
  grad_norm.from_json(json_get<Json>(state, "grad_norm", where), where + ": grad_norm");
  loss_ = std::move(loss);
  grad_norm_ = std::move(grad_norm);
}

}  // namespace phalanx
