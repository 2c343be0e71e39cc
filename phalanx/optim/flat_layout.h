// File: phalanx/optim/flat_layout.h
//
// Purpose: where every trainable parameter lies in the flat buffers, and how these are cut into buckets.
// Contract: a slot is a parameter and the padding behind it, up to a multiple of kFlatAlignment. A bucket is one range
//   of slots, those with weight decay first, and padding up to a multiple of kFlatAlignment x data ranks. Padding holds
//   zeros and stays zero.
//   One data rank: one bucket, parameters in forward order. Several: reverse forward order, which is about the order in
//   which gradients become ready; a bucket is closed when it has `bucket_elements`; parameters with a partial segment
//   lie in buckets of their own, since their sum over replicas comes first. So do those of another dtype (what a half model
//   keeps in fp32), since a bucket's weights are one buffer.
//   `shard` is this rank's piece of a bucket: all of it, or an equal share under ZeRO-1. Masters and moments exist for
//   shards only: shard after shard, a bucket's from `state_begin` on.
//   `counted` covers, within the shard, each element that the gradient norm counts here (tensor/parameter.h).
// Units: elements.
#pragma once

#include <cstdint>
#include <vector>

#include "phalanx/optim/optim_parallel.h"
#include "phalanx/tensor/parameter.h"

namespace phalanx {

inline constexpr int64_t kFlatAlignment = 64;  // a cache line of any dtype, a multiple of every vector width

struct FlatRange {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
  bool empty() const { return end <= begin; }
  bool operator==(const FlatRange&) const = default;
};

FlatRange overlap(FlatRange a, FlatRange b);

struct FlatSlot {
  Parameter* parameter = nullptr;
  int64_t offset = 0;
  size_t bucket = 0;

  FlatRange range() const { return {offset, offset + parameter->data.numel()}; }
};

struct FlatBucket {
  FlatRange all;
  at::ScalarType dtype = at::kFloat;  // of the weights
  int64_t decay_end = 0;              // [all.begin, decay_end) decays
  FlatRange shard;
  int64_t state_begin = 0;
  bool has_partial = false;
  std::vector<FlatRange> counted;
};

struct FlatLayout {
  std::vector<FlatSlot> slots;  // in flat order
  std::vector<FlatBucket> buckets;
  int64_t size = 0;
  int64_t state_size = 0;
};

// Frozen parameters have no slot. A zero_stage above 1 is Error(kBadInput).
FlatLayout make_flat_layout(const std::vector<Parameter*>& parameters, const OptimParallel& parallel);

bool has_partial_segment(const Parameter& parameter);

}  // namespace phalanx
