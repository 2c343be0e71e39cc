#include "phalanx/arch/hybrid_pattern.h"

#include <cmath>

#include "phalanx/arch/pattern.h"
#include "phalanx/base/error.h"

namespace phalanx {
namespace {

constexpr char kAttention = static_cast<char>(LayerKind::kAttention);
constexpr char kMlp = static_cast<char>(LayerKind::kMlp);
constexpr char kMamba = static_cast<char>(LayerKind::kMamba2);

// Turns every Mamba layer into `kind` that comes `distance` Mamba layers behind the one before it.
void spread(std::string& layers, char kind, double distance) {
  double left = distance;
  for (char& layer : layers) {
    if (layer != kMamba) continue;
    if (left < 0.5) {
      layer = kind;
      left += distance;
    } else {
      left -= 1.0;
    }
  }
}

}  // namespace

HybridCounts hybrid_counts(int64_t layers, double attention_ratio, double mlp_ratio) {
  PHALANX_CHECK(
      layers > 0 && attention_ratio >= 0.0 && attention_ratio <= 1.0 && mlp_ratio >= 0.0 && mlp_ratio <= 1.0,
      "ratios are from 0 to 1");
  // nearbyint rounds halves to even, as Python's round does.
  const auto share = [layers](double ratio) {
    return static_cast<int64_t>(std::nearbyint(static_cast<double>(layers) * ratio));
  };
  HybridCounts counts{.attention = share(attention_ratio), .mlp = share(mlp_ratio)};
  counts.mamba = layers - counts.attention - counts.mlp;
  return counts;
}

std::string hybrid_pattern(int64_t layers, double attention_ratio, double mlp_ratio) {
  const HybridCounts counts = hybrid_counts(layers, attention_ratio, mlp_ratio);
  PHALANX_CHECK(counts.mamba >= 0, "more attention and MLP layers than layers");
  std::string pattern(static_cast<size_t>(layers), kMamba);
  const auto others = static_cast<double>(layers - counts.attention);
  spread(pattern, kAttention, others / static_cast<double>(counts.attention + 1));
  if (counts.mlp > 0) {
    spread(pattern, kMlp, static_cast<double>(counts.mamba) / static_cast<double>(counts.mlp));
  }
  return pattern;
}

}  // namespace phalanx
