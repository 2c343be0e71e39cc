#include "phalanx/optim/flat_layout.h"

#include <algorithm>
#include <limits>
#include <string>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

int64_t round_up(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

int64_t slot_size(const Parameter& parameter) {
  return round_up(parameter.data.numel(), kFlatAlignment);
}

bool decays(const Parameter& parameter) {
  return !parameter.segments.empty() && parameter.segments[0].decay;
}

using Group = std::vector<Parameter*>;

// Closes a group of parameters as soon as it is large enough.
class Grouping {
 public:
  explicit Grouping(int64_t limit) : limit_(limit) {}

  void add(Parameter* parameter) {
    if (size_ == 0) groups.emplace_back();
    groups.back().push_back(parameter);
    size_ += slot_size(*parameter);
    if (size_ >= limit_) size_ = 0;
  }

  std::vector<Group> groups;

 private:
  int64_t limit_;
  int64_t size_ = 0;  // of the open group
};

// Of trainable parameters of one dtype.
std::vector<Group> group_by_readiness(Group trainable, const OptimParallel& parallel) {
  if (parallel.data_size() == 1) return {std::move(trainable)};
  std::reverse(trainable.begin(), trainable.end());
  if (!parallel.overlap) return {std::move(trainable)};
  Grouping ready(parallel.resolved_bucket_elements());
  Grouping partial(parallel.resolved_bucket_elements());
  for (Parameter* p : trainable) (has_partial_segment(*p) ? partial : ready).add(p);
  std::vector<Group> groups = std::move(ready.groups);
  for (Group& group : partial.groups) groups.push_back(std::move(group));
  return groups;
}

std::vector<Group> group_parameters(const std::vector<Parameter*>& parameters,
                                    const OptimParallel& parallel) {
  std::vector<Group> by_dtype;
  for (Parameter* p : parameters) {
    if (!p->trainable) continue;
    const auto same = std::find_if(by_dtype.begin(), by_dtype.end(), [p](const Group& group) {
      return group[0]->data.scalar_type() == p->data.scalar_type();
    });
    if (same != by_dtype.end()) {
      same->push_back(p);
    } else {
      by_dtype.push_back({p});
    }
  }
  std::vector<Group> groups;
  for (Group& of_dtype : by_dtype) {
    for (Group& group : group_by_readiness(std::move(of_dtype), parallel)) groups.push_back(std::move(group));
  }
  return groups;
}

// The flat runs, one row after the other, of a box of a dense tensor; runs that touch become one.
void append_runs(const Shape& shape, const Box& box, int64_t offset, std::vector<FlatRange>* runs) {
  if (box.num_elements() == 0) return;
  // Behind the last dim that the box does not span, everything is one run.
  size_t outer = shape.size();
  int64_t length = 1;
  while (outer > 0 && box.begin[outer - 1] == 0 && box.end[outer - 1] == shape[outer - 1])
    length *= shape[--outer];
  if (outer > 0) {
    --outer;
    length *= box.end[outer] - box.begin[outer];
  }
  Shape at(box.begin.begin(), box.begin.begin() + static_cast<std::ptrdiff_t>(outer));
  while (true) {
    int64_t start = 0;
    for (size_t d = 0; d < shape.size(); ++d) start = start * shape[d] + (d < outer ? at[d] : box.begin[d]);
    start += offset;
    if (!runs->empty() && runs->back().end == start) {
      runs->back().end += length;
    } else {
      runs->push_back({start, start + length});
    }
    size_t d = outer;
    while (d > 0 && ++at[d - 1] == box.end[d - 1]) {
      at[d - 1] = box.begin[d - 1];
      --d;
    }
    if (d == 0) return;
  }
}

// What the norm counts of a slot. Padding that nobody else counts is taken along: it holds zeros, and longer runs are
// fewer.
void append_counted(const FlatSlot& slot, int world_rank, std::vector<FlatRange>* counted) {
  const Parameter& p = *slot.parameter;
  const bool all = std::all_of(p.segments.begin(), p.segments.end(),
                               [&](const Segment& s) { return is_first_replica(s, world_rank); });
  if (all) {
    append_runs({slot_size(p)}, Box::whole({slot_size(p)}), slot.offset, counted);
    return;
  }
  for (const Segment& segment : p.segments) {
    if (is_first_replica(segment, world_rank))
      append_runs(p.data.sizes().vec(), segment.local_box, slot.offset, counted);
  }
}

void place_group(Group& group, const OptimParallel& parallel, FlatLayout* layout) {
  std::stable_partition(group.begin(), group.end(), [](const Parameter* p) { return decays(*p); });
  FlatBucket bucket;
  bucket.all.begin = bucket.decay_end = layout->size;
  bucket.dtype = group[0]->data.scalar_type();
  std::vector<FlatRange> counted;
  int64_t end = layout->size;
  for (Parameter* p : group) {
    layout->slots.push_back({p, end, layout->buckets.size()});
    append_counted(layout->slots.back(), parallel.world_rank(), &counted);
    bucket.has_partial = bucket.has_partial || has_partial_segment(*p);
    end += slot_size(*p);
    if (decays(*p)) bucket.decay_end = end;
  }
  const int64_t data = parallel.data_size();
  bucket.all.end = bucket.all.begin + round_up(end - bucket.all.begin, kFlatAlignment * data);
  bucket.shard = bucket.all;
  if (parallel.shards_state()) {
    const int64_t share = bucket.all.size() / data;
    bucket.shard.begin += parallel.data_rank() * share;
    bucket.shard.end = bucket.shard.begin + share;
  }
  for (const FlatRange& run : counted) {
    const FlatRange here = overlap(run, bucket.shard);
    if (!here.empty()) bucket.counted.push_back(here);
  }
  bucket.state_begin = layout->state_size;
  layout->size = bucket.all.end;
  layout->state_size += bucket.shard.size();
  layout->buckets.push_back(std::move(bucket));
}

}  // namespace

FlatRange overlap(FlatRange a, FlatRange b) {
  return {std::max(a.begin, b.begin), std::min(a.end, b.end)};
}

bool has_partial_segment(const Parameter& parameter) {
  return std::any_of(parameter.segments.begin(), parameter.segments.end(), [](const Segment& s) {
    return s.gradient == GradientKind::kPartial && s.replicas.size() > 1;
  });
}

FlatLayout make_flat_layout(const std::vector<Parameter*>& parameters, const OptimParallel& parallel) {
  if (parallel.zero_stage < 0 || parallel.zero_stage > 1) {
    throw Error(ErrorKind::kBadInput, {.where = "parallel.zero_stage",
                                       .got = std::to_string(parallel.zero_stage),
                                       .needed = "0 (nothing is sharded) or 1 (masters and moments are)",
                                       .fix = "set parallel.zero_stage to 1"});
  }
  FlatLayout layout;
  for (Group& group : group_parameters(parameters, parallel)) place_group(group, parallel, &layout);
  return layout;
}

}  // namespace phalanx
