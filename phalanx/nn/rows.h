// File: phalanx/nn/rows.h
//
// Purpose: which rows belong together: those of a sample in training, those of a sequence (a cache slot) in a step.
// Contract: samples of a batch have equally many rows. In a step, rows of one slot are consecutive; a slot has one run.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "phalanx/tensor/batch.h"

namespace phalanx::nn {

// [T, ..] as [samples, rows, ..].
Tensor by_sample(const Tensor& x, const Batch& batch);
// Undefined where a sample is one document.
Tensor documents_by_sample(const Batch& batch);

struct SlotRun {
  int64_t slot = 0;
  int64_t first = 0;  // row
  int64_t rows = 0;
};

std::vector<SlotRun> runs_of_slots(const Tensor& slot_T);
// Each sequence has one new row.
bool is_decode(const std::vector<SlotRun>& runs);
std::vector<int64_t> slots_of(const std::vector<SlotRun>& runs);

}  // namespace phalanx::nn
