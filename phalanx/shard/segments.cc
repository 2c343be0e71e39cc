#include "phalanx/shard/segments.h"

#include <algorithm>

#include <fmt/format.h>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

[[noreturn]] void throw_indivisible(const LogicalTensor& tensor, const std::string& got,
                                    const std::string& needed) {
  throw Error(ErrorKind::kBadInput,
              {.where = fmt::format("tensor '{}' {}", tensor.name, to_string(tensor.shape)),
               .got = got,
               .needed = needed,
               .fix = "choose parallel.tensor or the model's sizes so that they divide"});
}

// Cuts one dim into equal runs of units, or hands a unit to several ranks when there are fewer units than
// ranks.
void cut_dim(const LogicalTensor& tensor, size_t dim, TensorParallelRank tp, int64_t unit,
             LocalSegment* segment) {
  PHALANX_CHECK(dim < tensor.shape.size(), "no such dim to cut in " + tensor.name);
  const int64_t size = tensor.shape[dim];
  if (unit < 1 || size % unit != 0) {
    throw_indivisible(tensor, fmt::format("{} in dim {}", size, dim), fmt::format("a multiple of {}", unit));
  }
  const int64_t units = size / unit;
  int64_t first = 0;
  int64_t count = 0;
  if (units % tp.size == 0) {
    count = units / tp.size;
    first = tp.rank * count;
  } else if (units > 0 && tp.size % units == 0) {
    segment->replicas = static_cast<int>(tp.size / units);
    segment->replica = tp.rank % segment->replicas;
    first = tp.rank / segment->replicas;
    count = 1;
  } else {
    const std::string what = unit == 1 ? "" : fmt::format(" units of {}", unit);
    throw_indivisible(tensor,
                      fmt::format("{}{} in dim {} over {} tensor-parallel ranks", units, what, dim, tp.size),
                      "a multiple or a divisor of the ranks");
  }
  segment->global_box.begin[dim] = first * unit;
  segment->global_box.end[dim] = (first + count) * unit;
}

// Returns the rows of the local tensor, padding included.
int64_t cut_vocab(const LogicalTensor& tensor, TensorParallelRank tp, int64_t padded, LocalSegment* segment) {
  PHALANX_CHECK(!tensor.shape.empty(), "no dim to cut in " + tensor.name);
  const int64_t vocab = tensor.shape[0];
  if (padded == 0) padded = (vocab + tp.size - 1) / tp.size * tp.size;
  if (padded < vocab || padded % tp.size != 0) {
    throw_indivisible(tensor, fmt::format("a padded vocabulary of {} over {} ranks", padded, tp.size),
                      fmt::format("at least {} and a multiple of the ranks", vocab));
  }
  const int64_t rows = padded / tp.size;
  segment->global_box.begin[0] = std::min(tp.rank * rows, vocab);
  segment->global_box.end[0] = std::min((tp.rank + 1) * rows, vocab);
  return rows;
}

}  // namespace

LocalLayout local_layout(const LogicalTensor& tensor, TensorParallelRank tp, const SegmentOptions& options) {
  PHALANX_CHECK(tp.size >= 1 && tp.rank >= 0 && tp.rank < tp.size,
                fmt::format("rank {} of {}", tp.rank, tp.size));
  LocalSegment segment{
      .name = tensor.name, .global_shape = tensor.shape, .global_box = Box::whole(tensor.shape)};
  int64_t padded_rows = -1;
  switch (tensor.shard) {
    case ShardRule::kReplicated:
      segment.replicas = tp.size;
      segment.replica = tp.rank;
      break;
    case ShardRule::kColumn:
      cut_dim(tensor, 0, tp, options.unit, &segment);
      break;
    case ShardRule::kRow:
      cut_dim(tensor, 1, tp, options.unit, &segment);
      break;
    case ShardRule::kVocab:
      padded_rows = cut_vocab(tensor, tp, options.padded_vocab_size, &segment);
      break;
  }
  segment.local_box = Box::whole(segment.global_box.shape());
  LocalLayout layout{.shape = segment.local_box.end, .segments = {std::move(segment)}};
  if (padded_rows >= 0) layout.shape[0] = padded_rows;
  return layout;
}

LocalLayout local_layout(const FusedParameter& parameter, TensorParallelRank tp,
                         const std::vector<SegmentOptions>& options) {
  PHALANX_CHECK(!parameter.parts.empty(), "fused parameter without parts: " + parameter.name);
  LocalLayout fused;
  for (size_t i = 0; i < parameter.parts.size(); ++i) {
    LocalLayout part =
        local_layout(parameter.parts[i], tp, i < options.size() ? options[i] : SegmentOptions{});
    LocalSegment& segment = part.segments.front();
    if (i == 0) {
      fused = std::move(part);
      continue;
    }
    const bool stacks = !part.shape.empty() && part.shape.size() == fused.shape.size() &&
                        std::equal(part.shape.begin() + 1, part.shape.end(), fused.shape.begin() + 1);
    PHALANX_CHECK(stacks, "parts do not stack along dim 0: " + parameter.name);
    segment.local_box.begin[0] += fused.shape[0];
    segment.local_box.end[0] += fused.shape[0];
    fused.shape[0] += part.shape[0];
    fused.segments.push_back(std::move(segment));
  }
  return fused;
}

Box local_box(const LogicalTensor& tensor, TensorParallelRank tp, const SegmentOptions& options) {
  return local_layout(tensor, tp, options).segments.front().global_box;
}

}  // namespace phalanx
