#include "phalanx/model/init.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <array>

#include "phalanx/base/philox.h"

namespace phalanx {
namespace {

Tensor normal_tensor(const Shape& shape, uint64_t seed, int32_t ordinal, double std) {
  Tensor values = at::empty(shape, at::TensorOptions(at::kDouble));
  double* data = values.data_ptr<double>();
  const int64_t n = values.numel();
  const RandomKey key{.seed = seed, .purpose = RandomPurpose::kInit, .step = 0, .layer = ordinal};
  at::parallel_for(0, (n + 3) / 4, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const std::array<double, 4> four = philox_normal_block(key, static_cast<uint64_t>(block));
      for (int64_t i = block * 4; i < std::min(n, block * 4 + 4); ++i) {
        data[i] = std * four[static_cast<size_t>(i % 4)];
      }
    }
  });
  return values;
}

}  // namespace

std::unique_ptr<Parameter> make_parameter(const FusedParameter& spec, const ParameterSlot& slot,
                                          at::TensorOptions options) {
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
  parameter->data = at::zeros(slot.shape, options);
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
      case InitKind::kNormal:
        home.copy_(view_of(normal_tensor(part.shape, seed, part.ordinal, part.init_std), segment.global_box));
        break;
    }
  }
}

}  // namespace phalanx
