#include <algorithm>

#include "phalanx/pipeline/build_schedule.h"
#include "phalanx/pipeline/generate.h"

namespace phalanx {

// 1F1B (Narayanan et al. 2021, figure 4 top): a rank runs ahead by as many forwards as there are ranks behind it, then
// alternates, so that it holds at most pp - rank micro-batches instead of all of them.
Schedule generate_1f1b(int pp, int /*chunks*/, int micro_batches) {
  std::vector<ActionList> compute(static_cast<size_t>(pp));
  for (int rank = 0; rank < pp; ++rank) {
    ActionList& list = compute[static_cast<size_t>(rank)];
    const int warm_up = std::min(pp - rank - 1, micro_batches);
    int forward = 0;
    while (forward < warm_up) list.push_back({.op = Op::kForward, .micro_batch = forward++});
    for (int backward = 0; backward < micro_batches; ++backward) {
      if (forward < micro_batches) list.push_back({.op = Op::kForward, .micro_batch = forward++});
      list.push_back({.op = Op::kBackward, .micro_batch = backward});
    }
  }
  return build_schedule("1f1b", micro_batches, round_robin_placement(pp, 1), std::move(compute));
}

}  // namespace phalanx
