#include "phalanx/optim/segment_parts.h"

#include <ATen/ATen.h>

#include <optional>

#include "phalanx/shard/flat_range.h"

namespace phalanx {
namespace {

Box moved(Box box, const Shape& by) {
  for (size_t d = 0; d < by.size(); ++d) {
    box.begin[d] += by[d];
    box.end[d] += by[d];
  }
  return box;
}

}  // namespace

Tensor SegmentPart::view(const Tensor& flat, int64_t first) const {
  return view_of(flat.narrow(0, run.begin - first, run.size()).view(run_shape), box);
}

std::vector<SegmentPart> segment_parts(const Parameter& parameter, FlatRange range) {
  std::vector<SegmentPart> parts;
  if (range.empty()) return parts;
  int64_t begin = range.begin;
  for (const Box& run : flat_range_to_boxes(parameter.data.sizes().vec(), range.begin, range.end)) {
    const FlatRange flat{begin, begin + run.num_elements()};
    begin = flat.end;
    for (const Segment& segment : parameter.segments) {
      const std::optional<Box> common = intersect(run, segment.local_box);
      if (!common) continue;
      parts.push_back(
          {.segment = &segment,
           .global_box = moved(relative_to(*common, segment.local_box.begin), segment.global_box.begin),
           .run = flat,
           .run_shape = run.shape(),
           .box = relative_to(*common, run.begin)});
    }
  }
  return parts;
}

}  // namespace phalanx
