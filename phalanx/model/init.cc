#include "phalanx/model/init.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <array>

#include "phalanx/arch/init_value.h"
#include "phalanx/base/philox.h"

namespace phalanx {
namespace {

// Elements [begin, end) of the flat logical tensor, into `out`.
void normal_run(const RandomKey& key, double std, int64_t begin, int64_t end, double* out) {
  for (int64_t block = begin / 4; block * 4 < end; ++block) {
    const std::array<double, 4> four = philox_normal_block(key, static_cast<uint64_t>(block));
    for (int64_t e = std::max(begin, block * 4); e < std::min(end, block * 4 + 4); ++e) {
      out[e - begin] = std * four[static_cast<size_t>(e % 4)];
    }
  }
}

void formula_run(const RandomKey& key, const LogicalTensor& part, int64_t begin, int64_t end, double* out) {
  for (int64_t e = begin; e < end; ++e)
    out[e - begin] = init_value(part, e, philox_uniform(key, static_cast<uint64_t>(e)));
}

// The box of a tensor of one or two dims: a run of elements a row.
Tensor initial_box(const LogicalTensor& part, const Box& box, const RandomKey& key) {
  const Shape& shape = part.shape;
  const bool flat = shape.size() == 1;
  const int64_t width = flat ? shape[0] : shape[1];
  const int64_t first_row = flat ? 0 : box.begin[0];
  const int64_t rows = flat ? 1 : box.end[0] - box.begin[0];
  const int64_t first = box.begin.back();
  const int64_t columns = box.end.back() - first;
  Tensor values = at::empty(flat ? Shape{columns} : Shape{rows, columns}, at::TensorOptions(at::kDouble));
  double* data = values.data_ptr<double>();
  // Whole rows are one run, so that no block of four is made twice.
  const int64_t run_rows = columns == width ? std::max<int64_t>(1, 4096 / std::max<int64_t>(1, width)) : 1;
  at::parallel_for(0, (rows + run_rows - 1) / run_rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin * run_rows; r < std::min(rows, end * run_rows); r += run_rows) {
      const int64_t more = (std::min(rows, r + run_rows) - r - 1) * width;
      const int64_t from = (first_row + r) * width + first;
      const int64_t to = from + more + columns;
      if (part.init == InitKind::kNormal) {
        normal_run(key, part.init_std, from, to, data + r * columns);
      } else {
        formula_run(key, part, from, to, data + r * columns);
      }
    }
  });
  return values;
}

}  // namespace

std::unique_ptr<Parameter> make_parameter(const FusedParameter& spec, const ParameterSlot& slot,
                                          Tensor data) {
  auto parameter = std::make_unique<Parameter>();
  parameter->name = spec.name;
  for (const SlotSegment& from : slot.segments) {
    Segment segment;
    segment.name = from.name;
    segment.global_shape = from.global_shape;
    segment.global_box = from.global_box;
    segment.local_box = from.local_box;
    segment.replicas = from.replicas;
    segment.gradient = from.partial ? GradientKind::kPartial : GradientKind::kIdentical;
    segment.decay = from.decay;
    parameter->segments.push_back(std::move(segment));
  }
  parameter->data = std::move(data);
  return parameter;
}

void initialise_parameter(Parameter& parameter, const FusedParameter& spec, uint64_t seed) {
  for (size_t i = 0; i < spec.parts.size(); ++i) {
    const LogicalTensor& part = spec.parts[i];
    const Segment& segment = parameter.segments[i];
    Tensor home = view_of(parameter.data, segment.local_box);
    switch (part.init) {
      case InitKind::kZero:
        home.zero_();
        break;
      case InitKind::kOne:
        home.fill_(1.0);
        break;
      default:
        home.copy_(
            initial_box(part, segment.global_box,
                        {.seed = seed, .purpose = RandomPurpose::kInit, .step = 0, .layer = part.ordinal}));
        break;
    }
  }
}

}  // namespace phalanx
