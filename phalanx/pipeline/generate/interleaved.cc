#include <algorithm>

#include "phalanx/pipeline/build_schedule.h"
#include "phalanx/pipeline/generate.h"

namespace phalanx {
namespace {

// The (micro-batch, chunk) pairs of a rank in the order of their forwards: group by group, a whole group through a
// chunk before the next. Backwards take the same micro-batches with the chunks mirrored.
ActionList interleaved_forwards(int chunks, int micro_batches, int group) {
  ActionList list;
  for (int first = 0; first < micro_batches; first += group) {
    const int end = std::min(first + group, micro_batches);
    for (int chunk = 0; chunk < chunks; ++chunk) {
      for (int mb = first; mb < end; ++mb) {
        list.push_back({.op = Op::kForward, .micro_batch = mb, .chunk = chunk});
      }
    }
  }
  return list;
}

}  // namespace

int interleaved_group_size(int pp, int micro_batches) {
  if (micro_batches < pp) return micro_batches;
  int group = pp;
  while (micro_batches % group != 0 && micro_batches % group < pp) ++group;
  return group;
}

// Interleaved 1F1B (Narayanan et al. 2021, figure 4 bottom): each rank holds several pieces of the model, so that the
// pipeline fills and drains in pieces and the bubble shrinks by their number. A rank runs ahead by two for every rank
// behind it, and by a group for every chunk but the last. With one chunk this is 1F1B, which needs half of that.
Schedule generate_interleaved(int pp, int chunks, int micro_batches) {
  const ActionList forwards =
      interleaved_forwards(chunks, micro_batches, interleaved_group_size(pp, micro_batches));
  const int total = static_cast<int>(forwards.size());
  std::vector<ActionList> compute(static_cast<size_t>(pp));
  for (int rank = 0; rank < pp; ++rank) {
    const int behind = pp - rank - 1;
    const int ahead =
        chunks == 1 ? behind : 2 * behind + (chunks - 1) * interleaved_group_size(pp, micro_batches);
    ActionList& list = compute[static_cast<size_t>(rank)];
    list.assign(forwards.begin(), forwards.begin() + std::min(ahead, total));
    for (int backward = 0; backward < total; ++backward) {
      const int forward = backward + ahead;
      if (forward < total) list.push_back(forwards[static_cast<size_t>(forward)]);
      Action action = forwards[static_cast<size_t>(backward)];
      action.op = Op::kBackward;
      action.chunk = chunks - 1 - action.chunk;
      list.push_back(action);
    }
  }
  return build_schedule("interleaved", micro_batches, round_robin_placement(pp, chunks), std::move(compute));
}

}  // namespace phalanx
