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
//   slot      int64  cache slot of the row; only for `step`, on the CPU: every layer looks into the cache's books
//   logit_rows int64 [n], no column: the rows whose logits `step` makes; undefined: all
// Contract: `random` carries seed and step; a module fills in purpose and layer. dropout is on only when `training`.
//   Under sequence parallelism the columns stay whole on every rank of a tensor group, and the residual stream has
//   T / row_shards rows: the contiguous piece `row_shard`, which is what local() cuts out of a column. What works on the
//   stream (norms, dropout, positions) reads local columns; attention, linears and the loss see all T rows.
#pragma once

#include <ATen/core/Tensor.h>

#include "phalanx/base/error.h"
#include "phalanx/base/philox.h"

namespace phalanx {

using at::Tensor;

struct Batch {
  int64_t num_samples = 0;
  int64_t seq_length = 0;  // S, the logical length of a sample
  bool training = false;
  RandomKey random;
  int64_t row_shards = 1;  // 1, or the ranks of the tensor group
  int64_t row_shard = 0;
  Tensor token_id;
  Tensor tokens;
  Tensor labels;
  Tensor position;
  Tensor document;
  Tensor loss_weight;
  Tensor slot;
  Tensor logit_rows;

  int64_t num_rows() const { return tokens.size(0); }
  bool rows_are_sharded() const { return row_shards > 1; }
  // The rows of `column` that this rank's piece of the residual stream has.
  Tensor local(const Tensor& column) const {
    if (!rows_are_sharded() || !column.defined()) return column;
    PHALANX_CHECK(column.size(0) % row_shards == 0 && row_shard >= 0 && row_shard < row_shards,
                  "the rows of a batch divide over the ranks that shard them");
    const int64_t rows = column.size(0) / row_shards;
    return column.narrow(0, row_shard * rows, rows);
  }
  RandomKey random_key(RandomPurpose purpose, int32_t layer) const {
    return {random.seed, purpose, random.step, layer};
  }
};

}  // namespace phalanx
