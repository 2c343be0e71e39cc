#include "phalanx/pipeline/build_schedule.h"
#include "phalanx/pipeline/generate.h"

namespace phalanx {

// GPipe (Huang et al. 2019): all forwards, then all backwards, so every micro-batch is stashed at once. With several
// chunks the model loops over the ranks, breadth first: all micro-batches through one chunk before the next. Backwards
// take the micro-batches in the order of the forwards, so that weight gradients add up as in every other kind.
Schedule generate_gpipe(int pp, int chunks, int micro_batches) {
  ActionList list;
  for (int chunk = 0; chunk < chunks; ++chunk) {
    for (int mb = 0; mb < micro_batches; ++mb) {
      list.push_back({.op = Op::kForward, .micro_batch = mb, .chunk = chunk});
    }
  }
  for (int chunk = chunks; chunk-- > 0;) {
    for (int mb = 0; mb < micro_batches; ++mb) {
      list.push_back({.op = Op::kBackward, .micro_batch = mb, .chunk = chunk});
    }
  }
  return build_schedule("gpipe", micro_batches, round_robin_placement(pp, chunks),
                        std::vector<ActionList>(static_cast<size_t>(pp), list));
}

}  // namespace phalanx
