// File: phalanx/optim/segment_parts.h
//
// Purpose: between a flat range of a parameter, which is what a rank's share of a bucket holds, and boxes of logical
//   tensors, which is what a checkpoint holds.
// Contract: the parts of a range cover each of its elements that lies in a segment exactly once, and nothing else:
//   padding rows have no logical tensor. `run` is contiguous in the flat parameter; `box` is the part inside it.
// Units: elements.
#pragma once

#include <vector>

#include "phalanx/optim/flat_layout.h"
#include "phalanx/shard/box.h"
#include "phalanx/tensor/parameter.h"

namespace phalanx {

struct SegmentPart {
  const Segment* segment = nullptr;
  Box global_box;   // in the logical tensor
  FlatRange run;    // in the flat parameter
  Shape run_shape;  // of that run
  Box box;          // of the run

  // `flat` holds the parameter's elements [first, ..).
  Tensor view(const Tensor& flat, int64_t first) const;
};

// `range` is within [0, elements of the parameter).
std::vector<SegmentPart> segment_parts(const Parameter& parameter, FlatRange range);

}  // namespace phalanx
