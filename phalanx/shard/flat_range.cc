#include "phalanx/shard/flat_range.h"

#include <algorithm>
#include <cstring>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

// strides[d] = elements between neighbours along dim d.
Shape row_major_strides(const Shape& shape) {
  Shape strides(shape.size(), 1);
  for (size_t d = shape.size(); d-- > 1;) strides[d - 1] = strides[d] * shape[d];
  return strides;
}

// The longest contiguous box that starts at flat position `begin` and ends at or before `end`.
Box longest_box_at(const Shape& shape, const Shape& strides, int64_t begin, int64_t end) {
  size_t dim = 0;  // the outermost dim along which a whole slice starts here and fits
  while (dim + 1 < shape.size() && (begin % strides[dim] != 0 || end - begin < strides[dim])) ++dim;
  Box box = Box::whole(shape);
  int64_t rest = begin;
  for (size_t d = 0; d <= dim; ++d) {
    const int64_t coordinate = rest / strides[d];
    rest %= strides[d];
    const int64_t fits = std::min((end - begin) / strides[d], shape[d] - coordinate);
    box.begin[d] = coordinate;
    box.end[d] = coordinate + (d == dim ? fits : 1);
  }
  return box;
}

}  // namespace

std::vector<Box> flat_range_to_boxes(const Shape& shape, int64_t begin, int64_t end) {
  PHALANX_CHECK(0 <= begin && begin <= end && end <= num_elements(shape),
                "flat range outside " + to_string(shape));
  if (shape.empty()) return begin < end ? std::vector<Box>{Box{}} : std::vector<Box>{};
  const Shape strides = row_major_strides(shape);
  std::vector<Box> boxes;
  while (begin < end) {
    boxes.push_back(longest_box_at(shape, strides, begin, end));
    begin += boxes.back().num_elements();
  }
  return boxes;
}

void copy_box(const DenseView<const std::byte>& source, const Box& source_box,
              const DenseView<std::byte>& destination, const Box& destination_box, uint64_t element_size) {
  const Shape shape = source_box.shape();
  PHALANX_CHECK(shape == destination_box.shape(), "copy between boxes of different shape");
  PHALANX_CHECK(contains(Box::whole(source.shape), source_box), "source box outside its tensor");
  PHALANX_CHECK(contains(Box::whole(destination.shape), destination_box),
                "destination box outside its tensor");
  const auto size = [&](const Shape& s) { return static_cast<uint64_t>(num_elements(s)) * element_size; };
  PHALANX_CHECK(source.bytes.size() == size(source.shape), "source bytes do not match their shape");
  PHALANX_CHECK(destination.bytes.size() == size(destination.shape),
                "destination bytes do not match their shape");
  if (num_elements(shape) == 0) return;

  // Dims from `inner` on are contiguous on both sides: one memcpy a run.
  size_t inner = shape.size();
  int64_t run = 1;
  while (inner > 0) {
    --inner;
    run *= shape[inner];
    if (shape[inner] != source.shape[inner] || shape[inner] != destination.shape[inner]) break;
  }
  const Shape source_strides = row_major_strides(source.shape);
  const Shape destination_strides = row_major_strides(destination.shape);
  int64_t from = 0;
  int64_t to = 0;
  for (size_t d = 0; d < shape.size(); ++d) {
    from += source_box.begin[d] * source_strides[d];
    to += destination_box.begin[d] * destination_strides[d];
  }
  Shape at(inner, 0);
  const int64_t num_runs = num_elements(shape) / run;
  for (int64_t i = 0; i < num_runs; ++i) {
    std::memcpy(destination.bytes.data() + static_cast<uint64_t>(to) * element_size,
                source.bytes.data() + static_cast<uint64_t>(from) * element_size,
                static_cast<uint64_t>(run) * element_size);
    for (size_t d = inner; d-- > 0;) {  // odometer
      from += source_strides[d];
      to += destination_strides[d];
      if (++at[d] < shape[d]) break;
      from -= shape[d] * source_strides[d];
      to -= shape[d] * destination_strides[d];
      at[d] = 0;
    }
  }
}

}  // namespace phalanx
