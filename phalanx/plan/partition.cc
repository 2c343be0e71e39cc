#include "phalanx/plan/partition.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "phalanx/base/error.h"
#include "phalanx/plan/plan_flops.h"

namespace phalanx {
namespace {

// need[i]: how few pieces of at most `bound` cover the costs from i on. Every cost is within the bound.
std::vector<size_t> pieces_needed(const std::vector<double>& sums, double bound) {
  const size_t count = sums.size() - 1;
  std::vector<size_t> need(count + 1, 0);
  size_t end = count;
  for (size_t i = count; i-- > 0;) {
    while (sums[end] - sums[i] > bound) --end;
    need[i] = need[end] + 1;
  }
  return need;
}

double smallest_bound(const std::vector<double>& sums, double largest, size_t parts) {
  double low = std::max(largest, sums.back() / static_cast<double>(parts));
  double high = sums.back();
  if (pieces_needed(sums, low).front() <= parts) return low;
  while (true) {
    const double middle = low + (high - low) / 2;
    if (middle <= low || middle >= high) return high;
    (pieces_needed(sums, middle).front() <= parts ? high : low) = middle;
  }
}

}  // namespace

std::vector<size_t> balanced_cuts(const std::vector<double>& costs, size_t parts) {
  PHALANX_CHECK(parts > 0 && parts <= costs.size(), "every piece holds something");
  std::vector<double> sums(costs.size() + 1, 0.0);
  std::partial_sum(costs.begin(), costs.end(), sums.begin() + 1);
  const double bound = smallest_bound(sums, *std::max_element(costs.begin(), costs.end()), parts);
  const std::vector<size_t> need = pieces_needed(sums, bound);
  std::vector<size_t> cuts = {0};
  for (size_t left = parts - 1; left > 0; --left) {  // pieces after this one
    const size_t begin = cuts.back();
    const double target = sums[begin] + (sums.back() - sums[begin]) / static_cast<double>(left + 1);
    size_t best = begin;  // none yet
    for (size_t end = begin + 1; end + left <= costs.size() && sums[end] - sums[begin] <= bound; ++end) {
      if (need[end] > left) continue;
      if (best == begin || std::abs(sums[end] - target) < std::abs(sums[best] - target)) best = end;
    }
    PHALANX_CHECK(best > begin, "a bound that holds lets every piece end somewhere");
    cuts.push_back(best);
  }
  cuts.push_back(costs.size());
  return cuts;
}

std::vector<StageSlice> balanced_slices(const PlanModel& model, size_t stages) {
  const TokenBatch batch = token_batch(1, model.sequence);
  std::vector<double> by_kind(256, -1.0);
  std::vector<double> costs;
  for (const LayerKind kind : model.pattern.layers) {
    double& cost = by_kind[static_cast<unsigned char>(kind)];
    if (cost < 0) cost = layer_flops(model, kind, batch, AttentionSpan::kCausal);
    costs.push_back(cost);
  }
  costs.push_back(head_flops(model, batch));
  const std::vector<size_t> cuts = balanced_cuts(costs, stages);
  const size_t layers = model.pattern.layers.size();
  std::vector<StageSlice> slices(stages);
  for (size_t s = 0; s < stages; ++s) slices[s] = {cuts[s], std::min(cuts[s + 1], layers)};
  return slices;
}

}  // namespace phalanx
