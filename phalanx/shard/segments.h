// File: phalanx/shard/segments.h
//
// Purpose: which box of a logical tensor a tensor-parallel rank holds, and where it lies in the rank's local
// tensor.
//   kReplicated  all of it
//   kColumn, kRow  an equal share of dim 0, dim 1, in whole units (a head's rows); with fewer units than
//   ranks, unit
//                  rank * units / tp, so that tp / units neighbours hold the same one
//   kVocab       rows [r Vp / tp, (r + 1) Vp / tp) of the padded vocabulary Vp, clipped to the V that exist
// Contract: pure. The boxes of all ranks cover the tensor; those of different replicas are disjoint. A size
// that does
//   not divide is Error(kBadInput) naming the tensor. A rank may hold no row of a padded vocabulary: its box
//   is empty.
// Source: Megatron's vocabulary ranges; DESIGN of logical tensors.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "phalanx/arch/parameter_table.h"
#include "phalanx/shard/box.h"

namespace phalanx {

struct TensorParallelRank {
  int rank = 0;
  int size = 1;
};

struct SegmentOptions {
  int64_t unit = 1;               // rows (kColumn) or columns (kRow) that stay together
  int64_t padded_vocab_size = 0;  // Vp for kVocab; 0: V rounded up to a multiple of the ranks
};

struct LocalSegment {
  std::string name;
  Shape global_shape;
  Box global_box;    // what of the logical tensor
  Box local_box;     // where in the local tensor
  int replicas = 1;  // tensor-parallel ranks that hold this same box
  int replica = 0;   // which of them this rank is; 0 writes the checkpoint
};

// A local tensor: segments stacked along dim 0, and below them the padding rows that no logical tensor has.
struct LocalLayout {
  Shape shape;
  std::vector<LocalSegment> segments;
};

LocalLayout local_layout(const LogicalTensor& tensor, TensorParallelRank tp,
                         const SegmentOptions& options = {});

// The parts of a fused parameter one below the other; options[i] belongs to parts[i], missing ones are the
// default.
LocalLayout local_layout(const FusedParameter& parameter, TensorParallelRank tp,
                         const std::vector<SegmentOptions>& options = {});

Box local_box(const LogicalTensor& tensor, TensorParallelRank tp, const SegmentOptions& options = {});

}  // namespace phalanx
