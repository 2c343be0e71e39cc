#include "phalanx/optim/grad_buckets.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

std::vector<Parameter*> parameters_of(const FlatLayout& layout) {
  std::vector<Parameter*> parameters;
  for (const FlatSlot& slot : layout.slots) parameters.push_back(slot.parameter);
  return parameters;
}

}  // namespace

GradBuckets::GradBuckets(const FlatLayout& layout, const Tensor& flat, const OptimParallel& parallel)
    : layout_(&layout), parallel_(&parallel), flat_(flat) {
  for (size_t i = 0; i < layout.slots.size(); ++i) {
    const FlatSlot& slot = layout.slots[i];
    Parameter& p = *slot.parameter;
    slot_of_[&p] = i;
    p.main_grad = flat_.narrow(0, slot.offset, p.data.numel()).view(p.data.sizes());
    p.has_grad = false;
  }
  replica_sum_ = ReplicaSum(parameters_of(layout), parallel);
  remaining_.resize(layout.slots.size());
  open_.resize(layout.buckets.size());
}

void GradBuckets::begin_step(int64_t micro_batches) {
  PHALANX_CHECK(works_.empty() && next_ == 0, "the last step's reductions were not finished");
  counting_ = true;
  std::fill(open_.begin(), open_.end(), 0);
  for (size_t i = 0; i < remaining_.size(); ++i) {
    const FlatSlot& slot = layout_->slots[i];
    PHALANX_CHECK(slot.parameter->uses > 0, "trainable without a use: " + slot.parameter->name);
    remaining_[i] = slot.parameter->uses * micro_batches;
    if (remaining_[i] > 0) ++open_[slot.bucket];
  }
}

void GradBuckets::on_applied(const Parameter& parameter) {
  if (!counting_) return;
  const auto found = slot_of_.find(&parameter);
  if (found == slot_of_.end()) return;
  int64_t& remaining = remaining_[found->second];
  PHALANX_CHECK(remaining > 0, "a gradient of " + parameter.name + " came after the step's last one");
  if (--remaining > 0) return;
  --open_[layout_->slots[found->second].bucket];
  if (parallel_->overlap) start_full_buckets();
}

void GradBuckets::start_full_buckets() {
  while (next_ < open_.size() && open_[next_] == 0 && !layout_->buckets[next_].has_partial) start_next();
}

void GradBuckets::start_next() {
  const FlatBucket& bucket = layout_->buckets[next_++];
  if (parallel_->data_size() == 1) return;
  const Tensor all = flat_.narrow(0, bucket.all.begin, bucket.all.size());
  if (parallel_->shards_state()) {
    // In place: the sum replaces this rank's part of what it gives.
    const Tensor shard = flat_.narrow(0, bucket.shard.begin, bucket.shard.size());
    works_.push_back(parallel_->data->start_reduce_scatter(shard, all));
  } else {
    works_.push_back(parallel_->data->start_all_reduce(all, comm::ReduceOp::kSum));
  }
}

void GradBuckets::check_complete() const {
  for (size_t i = 0; i < remaining_.size(); ++i) {
    const Parameter& p = *layout_->slots[i].parameter;
    PHALANX_CHECK(remaining_[i] == 0, fmt::format("{} of the step's gradients of {} are missing (uses = {})",
                                                  remaining_[i], p.name, p.uses));
  }
}

// A parameter that got no gradient this step must not keep the last one's. Buckets that were started lack none.
void GradBuckets::zero_missing() {
  for (const FlatSlot& slot : layout_->slots) {
    if (!slot.parameter->has_grad && slot.bucket >= next_) slot.parameter->main_grad.zero_();
  }
}

void GradBuckets::finish() {
  if (counting_) check_complete();
  zero_missing();
  while (next_ < open_.size() && !layout_->buckets[next_].has_partial) start_next();
  replica_sum_.run();
  while (next_ < open_.size()) start_next();
  cancel();
}

void GradBuckets::cancel() {
  // Whoever had gradients has started these; a data rank without a micro-batch must join in.
  while (counting_ && parallel_->overlap && next_ < open_.size() && !layout_->buckets[next_].has_partial)
    start_next();
  const std::vector<comm::WorkPtr> works = std::exchange(works_, {});
  for (const comm::WorkPtr& work : works) work->wait();
  counting_ = false;
  next_ = 0;
}

}  // namespace phalanx
