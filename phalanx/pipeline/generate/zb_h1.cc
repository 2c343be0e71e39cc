#include "phalanx/pipeline/build_schedule.h"
#include "phalanx/pipeline/generate.h"
#include "phalanx/pipeline/generate/greedy_split.h"

namespace phalanx {

// ZB-H1 (Qi et al. 2023, figure 3): runs ahead as far as 1F1B, sends gradients on before it computes those of its
// weights, and does the latter in the ramp down and where a forward needs their stash. With F = B = W the bubble is
// pp - 1 ticks instead of 3 (pp - 1). Later ranks run ahead less, so they can queue more W within the same pp.
Schedule generate_zb_h1(int pp, int /*chunks*/, int micro_batches) {
  const Placement placement = round_robin_placement(pp, 1);
  SplitRules rules{.max_stash = pp, .priority = {{Op::kForward, 0}, {Op::kBackwardInput, 0}}};
  for (int rank = 0; rank < pp; ++rank) rules.max_live.push_back({pp - rank});
  return build_schedule("zb-h1", micro_batches, placement,
                        greedy_split(placement, micro_batches, rules).compute);
}

}  // namespace phalanx
