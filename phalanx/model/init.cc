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

std::unique_ptr<Parameter> make_parameter(const FusedParameter& spec, int64_t padded_vocab,
                                          at::TensorOptions options) {
  auto parameter = std::make_unique<Parameter>();
  parameter->name = spec.name;
  int64_t rows = 0;
  for (const LogicalTensor& part : spec.parts) {
    Segment segment;
    segment.name = part.name;
    segment.global_shape = part.shape;
    segment.global_box = Box::whole(part.shape);
    segment.local_box = segment.global_box;
    segment.local_box.begin[0] += rows;
    segment.local_box.end[0] += rows;
    segment.decay = part.decay;
    rows += part.shard == ShardRule::kVocab ? padded_vocab : part.shape[0];
    parameter->segments.push_back(std::move(segment));
  }
  Shape shape = spec.parts[0].shape;
  shape[0] = rows;
  parameter->data = at::zeros(shape, options);
  return parameter;
}

void initialise_parameter(Parameter& parameter, const FusedParameter& spec, uint64_t seed) {
  for (size_t i = 0; i < spec.parts.size(); ++i) {
    const LogicalTensor& part = spec.parts[i];
    Tensor home = view_of(parameter.data, parameter.segments[i].local_box);
    switch (part.init) {
      case InitKind::kZero:
        home.zero_();
        break;
      case InitKind::kOne:
        home.fill_(1.0);
        break;
      case InitKind::kNormal:
        home.copy_(normal_tensor(part.shape, seed, part.ordinal, part.init_std));
        break;
    }
  }
}

}  // namespace phalanx
