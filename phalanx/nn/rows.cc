#include "phalanx/nn/rows.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "phalanx/base/error.h"

namespace phalanx::nn {

Tensor by_sample(const Tensor& x, const Batch& batch) {
  PHALANX_CHECK(batch.num_samples > 0 && x.size(0) % batch.num_samples == 0,
                "samples of a batch have equally many rows");
  return x.unflatten(0, {batch.num_samples, x.size(0) / batch.num_samples});
}

Tensor documents_by_sample(const Batch& batch) {
  return batch.document.defined() ? by_sample(batch.document, batch) : Tensor();
}

std::vector<SlotRun> runs_of_slots(const Tensor& slot_T) {
  const Tensor slots = slot_T.cpu().contiguous();
  const int64_t* slot = slots.const_data_ptr<int64_t>();
  std::vector<SlotRun> runs;
  for (int64_t t = 0; t < slots.size(0); ++t) {
    if (runs.empty() || runs.back().slot != slot[t]) runs.push_back({slot[t], t, 0});
    ++runs.back().rows;
  }
  return runs;
}

bool is_decode(const std::vector<SlotRun>& runs) {
  return std::ranges::all_of(runs, [](const SlotRun& run) { return run.rows == 1; });
}

std::vector<int64_t> slots_of(const std::vector<SlotRun>& runs) {
  std::vector<int64_t> slots;
  for (const SlotRun& run : runs) slots.push_back(run.slot);
  return slots;
}

}  // namespace phalanx::nn
