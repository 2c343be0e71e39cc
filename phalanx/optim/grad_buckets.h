// File: phalanx/optim/grad_buckets.h
//
// Purpose: the flat gradient buffer and its sums over other ranks, each started as soon as its last gradient is in.
// Contract: main_grad of every slot is a view of `flat`. begin_step(M) expects Parameter::uses x M applied uses of each
//   parameter (M may be 0 and differ between data ranks); on_applied counts one. A full bucket without partial segments
//   is reduced over the data ranks at once, unless an earlier bucket is not full yet: reductions start in the order of
//   the buckets, so that all ranks agree. finish() sums partial gradients over their replicas, reduces what is left and
//   waits for all; then the shard of every bucket holds the sum over the whole step (without ZeRO-1 that is the whole
//   bucket; with it, the rest is undefined until the next step overwrites it).
//   Without begin_step nothing is counted and everything is reduced in finish(). A parameter without a gradient counts
//   as zero. A use too many, or one that is missing at finish(), is a bug and aborts: its gradient would be lost.
//   One data rank without partial segments: no collective, no copy.
#pragma once

#include <unordered_map>
#include <vector>

#include "phalanx/optim/flat_layout.h"
#include "phalanx/optim/replica_sum.h"

namespace phalanx {

class GradBuckets {
 public:
  // `flat` has layout.size zeros. Both arguments outlive this object.
  GradBuckets(const FlatLayout& layout, const Tensor& flat, const OptimParallel& parallel);

  void begin_step(int64_t micro_batches);
  void on_applied(const Parameter& parameter);
  void finish();
  // Leaves the step's gradients unused: waits for what was started.
  void cancel();

 private:
  void start_full_buckets();
  void start_next();
  void check_complete() const;
  void zero_missing();

  const FlatLayout* layout_;
  const OptimParallel* parallel_;
  Tensor flat_;
  ReplicaSum replica_sum_;
  std::unordered_map<const Parameter*, size_t> slot_of_;
  std::vector<int64_t> remaining_;  // uses to come, by slot
  std::vector<int64_t> open_;       // slots with uses to come, by bucket
  size_t next_ = 0;                 // the first bucket that is not started
  std::vector<comm::WorkPtr> works_;
  bool counting_ = false;
};

}  // namespace phalanx
