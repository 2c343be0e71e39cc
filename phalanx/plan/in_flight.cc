#include "phalanx/plan/in_flight.h"

#include <algorithm>

#include "phalanx/base/error.h"
#include "phalanx/pipeline/generate.h"

namespace phalanx {
namespace {

// How many of the first `count` forwards of interleaved 1F1B belong to each chunk: group by group, all of a group
// through one chunk before the next.
std::vector<int64_t> interleaved_chunks(int64_t count, int64_t chunks, int64_t micro_batches, int64_t group) {
  std::vector<int64_t> by_chunk(static_cast<size_t>(chunks), 0);
  for (int64_t first = 0; first < micro_batches && count > 0; first += group) {
    const int64_t size = std::min(group, micro_batches - first);
    for (int64_t& of_chunk : by_chunk) {
      const int64_t taken = std::min(size, count);
      of_chunk += taken;
      count -= taken;
    }
  }
  return by_chunk;
}

std::vector<int64_t> interleaved(const PlanLayout& layout, int64_t rank, int64_t group) {
  const int64_t m = layout.micro_batches();
  const int64_t behind = layout.pp - rank - 1;
  if (layout.chunks == 1) return {std::min(behind + 1, m)};
  return interleaved_chunks(2 * behind + (layout.chunks - 1) * group + 1, layout.chunks, m, group);
}

// Two chunks in a V: `pairs` together, `first` of them or fewer of the chunk on the way down.
std::vector<int64_t> v_shape(int64_t pairs, int64_t first, int64_t micro_batches) {
  const int64_t total = std::min(pairs, 2 * micro_batches);
  const int64_t down = std::min(first, micro_batches);
  return {down, total - down};
}

std::vector<int64_t> chunks_of_rank(const PlanLayout& layout, int64_t rank, int64_t group) {
  const int64_t p = layout.pp;
  const int64_t m = layout.micro_batches();
  if (layout.schedule == "gpipe") return std::vector<int64_t>(static_cast<size_t>(layout.chunks), m);
  if (layout.schedule == "1f1b") return {std::min(p - rank, m)};
  if (layout.schedule == "interleaved") return interleaved(layout, rank, group);
  if (layout.schedule == "zb-h1") return {std::min(p, m)};
  if (layout.schedule == "zb-v") return v_shape(2 * p, 2 * p - 1 - rank, m);
  if (layout.schedule == "v-half") {
    const int64_t pairs = 2 * ((p + 2) / 2);
    return v_shape(pairs, rank + 1 == p ? pairs / 2 : pairs - 1 - rank / 2, m);
  }
  throw Error(ErrorKind::kBadInput, {.where = "memory of schedule " + layout.schedule,
                                     .got = "no closed form of what it stashes",
                                     .needed = "the schedule itself",
                                     .fix = "pass the schedule"});
}

// What a forward adds to the stash of its chunk and its last backward takes away.
int64_t stash_change(Op op) {
  switch (op) {
    case Op::kForward:
      return 1;
    case Op::kBackwardWeight:
    case Op::kBackward:
      return -1;
    case Op::kBackwardInput:
    case Op::kSendForward:
    case Op::kRecvForward:
    case Op::kSendBackward:
    case Op::kRecvBackward:
      return 0;
  }
  PHALANX_CHECK(false, "an op without a value");
}

}  // namespace

InFlight closed_in_flight(const PlanLayout& layout) {
  InFlight ranks;
  const auto m = static_cast<int>(layout.micro_batches());
  const int group = interleaved_group_size(static_cast<int>(layout.pp), m);
  for (int64_t rank = 0; rank < layout.pp; ++rank) ranks.push_back(chunks_of_rank(layout, rank, group));
  return ranks;
}

InFlight peak_in_flight(const Schedule& schedule, const std::vector<int64_t>& bytes_of_stage) {
  const auto chunks = static_cast<size_t>(schedule.chunks);
  InFlight ranks(schedule.ranks.size(), std::vector<int64_t>(chunks, 0));
  if (schedule.forward_only) return ranks;
  for (size_t rank = 0; rank < schedule.ranks.size(); ++rank) {
    std::vector<int64_t> live(chunks, 0);
    int64_t bytes = 0;
    int64_t most = -1;
    for (const Action& action : schedule.ranks[rank]) {
      const int64_t change = stash_change(action.op);
      if (change == 0) continue;
      const auto chunk = static_cast<size_t>(action.chunk);
      live[chunk] += change;
      bytes += change * bytes_of_stage[static_cast<size_t>(schedule.placement[rank][chunk])];
      if (bytes <= most) continue;
      most = bytes;
      ranks[rank] = live;
    }
  }
  return ranks;
}

}  // namespace phalanx
