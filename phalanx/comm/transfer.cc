#include "phalanx/comm/transfer.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "phalanx/base/error.h"
#include "phalanx/comm/reduce_cpu.h"

namespace phalanx::comm {
namespace {

// Of each buffer. Large enough that taking a slice costs nothing beside it, small enough that several threads end at
// nearly the same time and a source that is copied to every rank stays in the second-level cache.
constexpr int64_t kSliceBytes = int64_t{128} << 10;

int64_t sum_before(const std::vector<int64_t>& counts, size_t end) {
  return std::accumulate(counts.begin(), counts.begin() + static_cast<int64_t>(end), int64_t{0});
}

}  // namespace

Transfer::Transfer(const Description& what, int64_t count, const std::vector<Part>& parts)
    : what_(what), parts_(&parts), count_(count), element_bytes_(dtype_bytes(what.dtype)) {
  const auto n = static_cast<int64_t>(parts.size());
  int64_t copies = 1;  // of a unit
  switch (what.kind) {
    case OpKind::kBarrier:
      break;
    case OpKind::kAllReduce:
      units_ = 1, copies = n;
      break;
    case OpKind::kAllGather:
      units_ = n, copies = n;
      break;
    case OpKind::kReduceScatter:
      units_ = n;
      break;
    case OpKind::kAllToAll:
      units_ = n * n;
      break;
    case OpKind::kBroadcast:
      units_ = 1, copies = n - 1;
      break;
    case OpKind::kSend:
    case OpKind::kRecv:
      units_ = 1;
      break;
  }
  slice_count_ = kSliceBytes / element_bytes_;
  int64_t longest = 0;
  for (int64_t unit = 0; unit < units_; ++unit) {
    longest = std::max(longest, unit_count(unit));
    written_bytes_ += unit_count(unit) * copies * element_bytes_;
  }
  slices_per_unit_ = (longest + slice_count_ - 1) / slice_count_;
}

int64_t Transfer::unit_count(int64_t unit) const {
  if (what_.kind != OpKind::kAllToAll) return count_;
  const auto n = static_cast<int64_t>(parts_->size());
  return (*parts_)[static_cast<size_t>(unit / n)].in_counts[static_cast<size_t>(unit % n)];
}

void Transfer::run(int64_t slice) const {
  const int64_t unit = slice / slices_per_unit_;
  const int64_t begin = slice % slices_per_unit_ * slice_count_;
  const Range range{unit, begin, std::min(slice_count_, unit_count(unit) - begin)};
  if (range.count <= 0) return;  // a unit shorter than the longest
  switch (what_.kind) {
    case OpKind::kBarrier:
      break;
    case OpKind::kAllReduce:
    case OpKind::kReduceScatter:
      reduce(range);
      break;
    case OpKind::kAllToAll:
      exchange(range);
      break;
    case OpKind::kAllGather:
    case OpKind::kBroadcast:
    case OpKind::kSend:
    case OpKind::kRecv:
      copy(range);
      break;
  }
}

void Transfer::reduce(const Range& range) const {
  const bool scatter = what_.kind == OpKind::kReduceScatter;
  std::vector<const std::byte*> in;
  std::vector<std::byte*> out;
  for (const Part& part : *parts_) {
    in.push_back(at(part.in, range.begin + (scatter ? range.unit * count_ : 0)));
    if (!scatter) out.push_back(at(part.out, range.begin));
  }
  if (scatter) out.push_back(at((*parts_)[static_cast<size_t>(range.unit)].out, range.begin));
  reduce_range(what_.dtype, what_.reduce, in, out, range.count);
}

void Transfer::copy(const Range& range) const {
  const bool gather = what_.kind == OpKind::kAllGather;
  size_t source = 0;  // the sender of a message
  if (gather) source = static_cast<size_t>(range.unit);
  if (what_.kind == OpKind::kBroadcast) source = static_cast<size_t>(what_.peer);
  const std::byte* from = at((*parts_)[source].in, range.begin);
  const int64_t offset = range.begin + (gather ? range.unit * count_ : 0);
  for (const Part& part : *parts_) {
    if (part.out == nullptr) continue;  // a sender
    std::byte* to = at(part.out, offset);
    if (to != from) std::memcpy(to, from, static_cast<size_t>(range.count * element_bytes_));
  }
}

void Transfer::exchange(const Range& range) const {
  const size_t n = parts_->size();
  const size_t source = static_cast<size_t>(range.unit) / n, target = static_cast<size_t>(range.unit) % n;
  const Part& sender = (*parts_)[source];
  const Part& receiver = (*parts_)[target];
  const std::byte* from = at(sender.in, sum_before(sender.in_counts, target) + range.begin);
  std::byte* to = at(receiver.out, sum_before(receiver.out_counts, source) + range.begin);
  std::memcpy(to, from, static_cast<size_t>(range.count * element_bytes_));
}

}  // namespace phalanx::comm
