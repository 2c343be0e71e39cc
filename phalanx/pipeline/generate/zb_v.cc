#include "phalanx/pipeline/build_schedule.h"
#include "phalanx/pipeline/generate.h"
#include "phalanx/pipeline/generate/greedy_split.h"

namespace phalanx {

// ZB-V (Qi et al. 2024): rank 0 holds the last stage beside the first, so that every rank can fill its stash of 2 pp
// chunks, as much as 1F1B's pp whole micro-batches, while the first micro-batch goes down and up the V. Forwards come
// first, those of the second chunk before those of the first. With F = B = W all ranks then work without
// a gap, and what is left of the bubble is the wait of the last rank for its first input: pp - 1 ticks of half a stage.
Schedule generate_zb_v(int pp, int /*chunks*/, int micro_batches) {
  const Placement placement = v_placement(pp);
  const SplitRules rules{
      .max_stash = 2 * pp,
      .max_live = std::vector<std::vector<int>>(static_cast<size_t>(pp), {2 * pp - 1, 2 * pp}),
      .priority = {{Op::kForward, 1}, {Op::kForward, 0}, {Op::kBackwardInput, 0}, {Op::kBackwardInput, 1}}};
  return build_schedule("zb-v", micro_batches, placement,
                        greedy_split(placement, micro_batches, rules).compute);
}

}  // namespace phalanx
