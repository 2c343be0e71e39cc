// File: phalanx/tensor/batch.h
//
// Purpose: named per-row columns. Every row (token) knows who it is: random bits, positions, masks and labels read
//   only these columns, never a row, rank or micro-batch number (DESIGN 2.4).
// Shapes: T rows of this rank, sample outermost; T = num_samples * row_length for training. All columns are [T].
//   token_id  int64  sample index within the global step * S + position in the sample (S = seq_length)
//   tokens    int64  input ids        labels int64  ids to predict, shifted before any split
//   position  int64  position inside its document (what learned or rotary positions see)
//   document  int64  document number inside the sample, or undefined when a sample is one document
//   loss_weight      d(total loss) / d(nll of the row): loss_scale / N on rows that count, else 0; in the dtype of the
//                    accumulators (fp32; fp64 under fp64). Undefined when no backward follows.
//   slot      int64  cache slot of the row; only for `step`
// Contract: `random` carries seed and step; a module fills in purpose and layer. dropout is on only when `training`.
#pragma once

#include <ATen/core/Tensor.h>

#include "phalanx/base/philox.h"

namespace phalanx {

using at::Tensor;

struct Batch {
  int64_t num_samples = 0;
  int64_t seq_length = 0;  // S, the logical length of a sample
  bool training = false;
  RandomKey random;
  Tensor token_id;
  Tensor tokens;
  Tensor labels;
  Tensor position;
  Tensor document;
  Tensor loss_weight;
  Tensor slot;

  int64_t num_rows() const { return tokens.size(0); }
  RandomKey random_key(RandomPurpose purpose, int32_t layer) const {
    return {random.seed, purpose, random.step, layer};
  }
};

}  // namespace phalanx
