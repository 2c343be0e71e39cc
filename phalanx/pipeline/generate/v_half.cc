#include "phalanx/pipeline/build_schedule.h"
#include "phalanx/pipeline/generate.h"
#include "phalanx/pipeline/generate/greedy_split.h"

namespace phalanx {

// V-Half (after Qi et al. 2024): (pp + 2) / 2 rounded down, in whole micro-batches, instead of the pp of 1F1B, and with
// F = B = W half of its bubble or less. What a rank needs to work without a gap is how long it holds a chunk over the
// 6 ticks that it spends on a micro-batch. With 3 ticks from a rank to the next, there and back together, that is
// (2 pp - rank) / 2 of the first chunk and rank / 2 of the second: pp everywhere. One more, and two where pp is even,
// was found to keep the rhythm when F, B and W differ in cost.
Schedule generate_v_half(int pp, int /*chunks*/, int micro_batches) {
  const Placement placement = v_placement(pp);
  const int spare = pp % 2 == 0 ? 1 : 0;
  SplitRules rules{
      .max_stash = pp + 1 + spare,
      .priority = {{Op::kForward, 1}, {Op::kForward, 0}, {Op::kBackwardInput, 1}, {Op::kBackwardInput, 0}}};
  for (int rank = 0; rank < pp; ++rank) {
    rules.max_live.push_back({(2 * pp - rank + 1) / 2 + spare, (rank + 3) / 2 + spare});
  }
  return build_schedule("v-half", micro_batches, placement,
                        greedy_split(placement, micro_batches, rules).compute);
}

}  // namespace phalanx
