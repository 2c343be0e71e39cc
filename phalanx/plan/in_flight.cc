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

// Walks the actions of one rank.
class RankWalk {
 public:
  RankWalk(const std::vector<int>& stage_of_chunk, const std::vector<PairBytes>& stages, int64_t window,
           size_t micro_batches)
      : stage_of_chunk_(stage_of_chunk),
        stages_(stages),
        window_(window),
        live_(stage_of_chunk.size()),
        whole_(stage_of_chunk.size(), std::vector<bool>(micro_batches, false)) {}

  void act(const Action& action) {
    const auto chunk = static_cast<size_t>(action.chunk);
    const PairBytes& pair = stages_[static_cast<size_t>(stage_of_chunk_[chunk])];
    HeldPairs& live = live_[chunk];
    switch (action.op) {
      case Op::kForward:
        forward(live, pair, whole_[chunk], static_cast<size_t>(action.micro_batch));
        break;
      case Op::kBackwardInput:
        finish(live, pair, whole_[chunk], static_cast<size_t>(action.micro_batch));
        ++live.deferred;
        bytes_ += pair.deferred;
        break;
      case Op::kBackwardWeight:
        --live.deferred;
        bytes_ -= pair.deferred;
        break;
      case Op::kBackward:
        finish(live, pair, whole_[chunk], static_cast<size_t>(action.micro_batch));
        break;
      case Op::kSendForward:
      case Op::kRecvForward:
      case Op::kSendBackward:
      case Op::kRecvBackward:
        return;
    }
    if (bytes_ <= most_) return;
    most_ = bytes_;
    at_peak_ = live_;
  }

  const std::vector<HeldPairs>& at_peak() const { return at_peak_; }

 private:
  void forward(HeldPairs& live, const PairBytes& pair, std::vector<bool>& whole, size_t micro_batch) {
    const bool keeps_all = whole_pairs_ < window_;
    whole[micro_batch] = keeps_all;
    whole_pairs_ += keeps_all ? 1 : 0;
    ++(keeps_all ? live.whole : live.kept);
    bytes_ += keeps_all ? pair.whole : pair.kept;
  }

  void finish(HeldPairs& live, const PairBytes& pair, const std::vector<bool>& whole, size_t micro_batch) {
    const bool keeps_all = whole[micro_batch];
    whole_pairs_ -= keeps_all ? 1 : 0;
    --(keeps_all ? live.whole : live.kept);
    bytes_ -= keeps_all ? pair.whole : pair.kept;
  }

  const std::vector<int>& stage_of_chunk_;
  const std::vector<PairBytes>& stages_;
  int64_t window_;
  std::vector<HeldPairs> live_;
  std::vector<HeldPairs> at_peak_ = std::vector<HeldPairs>(live_.size());
  std::vector<std::vector<bool>> whole_;
  int64_t whole_pairs_ = 0;
  int64_t bytes_ = 0;
  int64_t most_ = -1;
};

// Moves up to `count` pairs of a rank behind their B, from its last chunk on.
void defer(std::vector<HeldPairs>& chunks, int64_t count) {
  for (auto chunk = chunks.rbegin(); chunk != chunks.rend(); ++chunk) {
    const int64_t moved = std::min(count, chunk->kept);
    chunk->kept -= moved;
    chunk->deferred += moved;
    count -= moved;
  }
}

// zb-v peaks early, with all pairs and few of them behind their B, or late, with fewer pairs and nearly all behind it.
void defer_zb_v(std::vector<HeldPairs>& chunks, int64_t rank, int64_t pp, int64_t pairs,
                const PairBytes& bytes) {
  const int64_t late = std::max<int64_t>(pairs - (pp - 1 - rank), 1);
  const int64_t early = std::min(rank + 1, pairs);
  if (late * bytes.deferred <= early * bytes.deferred + (pairs - early) * bytes.kept)
    return defer(chunks, early);
  int64_t gone = pairs - late;
  for (HeldPairs& chunk : chunks) {
    const int64_t less = std::min(gone, chunk.kept);
    chunk.kept -= less;
    gone -= less;
  }
  defer(chunks, late);
}

// Where pairs weigh more behind their B.
void defer_closed(const PlanLayout& layout, int64_t rank, const PairBytes& bytes,
                  std::vector<HeldPairs>& chunks) {
  int64_t pairs = 0;
  for (const HeldPairs& chunk : chunks) pairs += chunk.kept;
  if (layout.schedule == "zb-h1") {
    defer(chunks, pairs - std::min(layout.pp - rank, layout.micro_batches()) + 1);
  } else if (layout.schedule == "zb-v") {
    defer_zb_v(chunks, rank, layout.pp, pairs, bytes);
  } else if (layout.schedule == "v-half") {
    defer(chunks, rank + 1 == layout.pp ? 2 : 3);
  }
}

}  // namespace

InFlight closed_in_flight(const PlanLayout& layout) {
  InFlight ranks;
  const auto m = static_cast<int>(layout.micro_batches());
  const int group = interleaved_group_size(static_cast<int>(layout.pp), m);
  for (int64_t rank = 0; rank < layout.pp; ++rank) ranks.push_back(chunks_of_rank(layout, rank, group));
  return ranks;
}

HeldByRank held_at_peak(const Schedule& schedule, const std::vector<PairBytes>& stages, int64_t window) {
  HeldByRank ranks;
  for (size_t rank = 0; rank < schedule.ranks.size(); ++rank) {
    RankWalk walk(schedule.placement[rank], stages, window, static_cast<size_t>(schedule.micro_batches));
    if (!schedule.forward_only) {
      for (const Action& action : schedule.ranks[rank]) walk.act(action);
    }
    ranks.push_back(walk.at_peak());
  }
  return ranks;
}

HeldByRank closed_held(const PlanLayout& layout, const std::vector<PairBytes>& stages) {
  PairBytes all;
  for (const PairBytes& stage : stages) {
    all.kept += stage.kept;
    all.deferred += stage.deferred;
  }
  HeldByRank ranks;
  for (const std::vector<int64_t>& pairs : closed_in_flight(layout)) {
    std::vector<HeldPairs> chunks;
    for (const int64_t of_chunk : pairs) chunks.push_back({.kept = of_chunk});
    if (all.deferred > all.kept) defer_closed(layout, static_cast<int64_t>(ranks.size()), all, chunks);
    ranks.push_back(std::move(chunks));
  }
  return ranks;
}

InFlight peak_in_flight(const Schedule& schedule, const std::vector<int64_t>& bytes_of_stage) {
  std::vector<PairBytes> stages;
  for (const int64_t bytes : bytes_of_stage) stages.push_back({.kept = bytes, .deferred = bytes});
  InFlight ranks;
  for (const std::vector<HeldPairs>& chunks : held_at_peak(schedule, stages)) {
    std::vector<int64_t> pairs;
    for (const HeldPairs& held : chunks) pairs.push_back(held.total());
    ranks.push_back(std::move(pairs));
  }
  return ranks;
}

}  // namespace phalanx
