#include "phalanx/kernels/ssd/ssd_walk.h"

#include <ATen/ATen.h>

namespace phalanx::kernels {
namespace {

// Rows of state of a task, at most: fewer would not make up for B, C and their product, which every task prepares for
// itself; with more a short batch would leave threads idle.
constexpr int64_t kBlockRows = 384;

int64_t divide_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

}  // namespace

SsdShape::SsdShape(const SsdChunkInputs& in)
    : batch(in.x.size(0)),
      rows(in.x.size(1)),
      heads(in.x.size(2)),
      width(in.x.size(3)),
      groups(in.B.size(2)),
      states(in.B.size(3)),
      chunk(in.chunk),
      chunks(divide_up(rows, chunk)),
      ld(divide_up(chunk, kSsdPad) * kSsdPad),
      heads_of_group(heads / groups) {
  const int64_t most = std::max<int64_t>(1, kBlockRows / std::max<int64_t>(1, width));
  blocks = divide_up(heads_of_group, most);
  block_heads = divide_up(heads_of_group, blocks);
}

SsdTask::SsdTask(const SsdShape& s, int64_t index)
    : sample(index / (s.groups * s.blocks)), group(index / s.blocks % s.groups), block(index % s.blocks) {
  const int64_t head = group * s.heads_of_group;
  first_head = head + std::min(s.heads_of_group, block * s.block_heads);
  last_head = head + std::min(s.heads_of_group, (block + 1) * s.block_heads);
}

void SsdChunkRows::set(const SsdShape& s, const int64_t* document, int64_t chunk) {
  first_ = chunk * s.chunk;
  const int64_t n = std::min(s.chunk, s.rows - first_);
  const auto starts = [&](int64_t i) {
    const int64_t t = first_ + i;
    return document != nullptr && t > 0 && document[t] != document[t - 1];
  };
  rows_ = {.rows = n, .start = start_.data(), .end = end_.data(), .carried = n};
  for (int64_t i = 0; i < n; ++i) {
    const bool begins = starts(i);
    start_[i] = begins ? i : (i == 0 ? 0 : start_[i - 1]);
    if (begins && rows_.carried == n) rows_.carried = i;
    self_[i] = i;
    next_[i] = i + 1;
  }
  for (int64_t i = n - 1; i >= 0; --i) end_[i] = i + 1 == n || start_[i + 1] == i + 1 ? i + 1 : end_[i + 1];
}

}  // namespace phalanx::kernels
