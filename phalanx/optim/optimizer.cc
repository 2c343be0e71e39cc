#include "phalanx/optim/optimizer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "phalanx/base/error.h"
#include "phalanx/kernels/grad_norm/grad_norm.h"
#include "phalanx/optim/segment_parts.h"
#include "phalanx/tensor/large_tensor.h"

namespace phalanx {
namespace {

Tensor part(const Tensor& flat, FlatRange range, int64_t first = 0) {
  return flat.narrow(0, range.begin - first, range.size());
}

// Where a range of a bucket's shard lies in the masters and moments.
FlatRange in_state(const FlatBucket& bucket, FlatRange range) {
  const int64_t shift = bucket.state_begin - bucket.shard.begin;
  return {range.begin + shift, range.end + shift};
}

}  // namespace

// Updated weights of one bucket on their way; all its parameters share one.
class Optimizer::Gather : public PendingData {
 public:
  explicit Gather(comm::WorkPtr work) : work_(std::move(work)) {}
  void wait() override {
    const comm::WorkPtr work = std::exchange(work_, nullptr);
    if (work) work->wait();
  }

 private:
  comm::WorkPtr work_;
};

Optimizer::Optimizer(std::vector<Parameter*> parameters, const OptimConfig& config,
                     at::ScalarType accumulator, OptimParallel parallel)
    : config_(config), parallel_(std::move(parallel)), layout_(make_flat_layout(parameters, parallel_)) {
  if (!parameters.empty()) device_ = parameters[0]->data.device();
  if (!layout_.slots.empty()) place_parameters(parameters, accumulator);
  buckets_ = std::make_unique<GradBuckets>(layout_, grad_, parallel_);
}

Optimizer::~Optimizer() {
  // Weights may still arrive in storage that the parameters keep. A dead peer was or will be reported elsewhere.
  try {
    wait_for_gathers();
  } catch (const std::exception&) {
    gathers_.clear();
  }
}

void Optimizer::place_parameters(const std::vector<Parameter*>& parameters, at::ScalarType accumulator) {
  const auto options = at::TensorOptions(accumulator).device(device_);
  for (const FlatBucket& bucket : layout_.buckets) {
    separate_masters_ = separate_masters_ || bucket.dtype != accumulator;
    weights_.push_back(large_zeros(bucket.all.size(), options.dtype(bucket.dtype)));
  }
  grad_ = large_zeros(layout_.size, options);
  if (separate_masters_) master_ = large_zeros(layout_.state_size, options);
  exp_avg_ = large_zeros(layout_.state_size, options);
  exp_avg_sq_ = large_zeros(layout_.state_size, options);
  for (Parameter* p : parameters) {
    PHALANX_CHECK(!p->trainable || p->data.device() == device_, "all trainable parameters share one device");
  }
  for (const FlatSlot& slot : layout_.slots) {
    const Tensor home = weights_of(slot.bucket, slot.range()).view(slot.parameter->data.sizes());
    home.copy_(slot.parameter->full());
    slot.parameter->data = home;
  }
  weights_changed();
}

Tensor Optimizer::weights_of(size_t bucket, FlatRange range) const {
  return part(weights_[bucket], range, layout_.buckets[bucket].all.begin);
}

Tensor Optimizer::masters_of(size_t bucket, FlatRange range) const {
  if (!separate_masters_) return weights_of(bucket, range);
  return part(master_, in_state(layout_.buckets[bucket], range));
}

// Over the counted elements of all ranks: shards over data ranks, then segments over the model's ranks.
double Optimizer::norm_of(const std::function<Tensor(size_t, FlatRange)>& elements) const {
  Tensor sum;
  for (size_t b = 0; b < layout_.buckets.size(); ++b) {
    for (const FlatRange& range : layout_.buckets[b].counted) {
      const Tensor squares = kernels::sum_of_squares(elements(b, range));
      sum = sum.defined() ? sum + squares : squares;
    }
  }
  const bool over_data = parallel_.shards_state();
  const bool over_model = parallel_.model != nullptr && parallel_.model->size() > 1;
  sum = sum.defined() ? sum.view({1}) : at::zeros({1}, at::TensorOptions(at::kDouble).device(device_));
  if (over_data) parallel_.data->all_reduce(sum);
  if (over_model) parallel_.model->all_reduce(sum);
  return std::sqrt(sum.item<double>());
}

Optimizer::StepResult Optimizer::step(double lr, double inverse_scale) {
  StepResult result;
  wait_for_gathers();
  buckets_->finish();
  result.grad_norm = norm_of([this](size_t, FlatRange range) { return part(grad_, range); }) * inverse_scale;
  if (!std::isfinite(result.grad_norm)) return result;
  result.applied = true;
  ++updates_;
  if (layout_.slots.empty()) return result;

  const double clip =
      config_.clip_grad > 0 ? std::min(1.0, config_.clip_grad / (result.grad_norm + 1e-6)) : 1.0;
  const double t = static_cast<double>(updates_);
  const Tensor scalars = at::tensor({lr, clip * inverse_scale, 1.0 - std::pow(config_.beta1, t),
                                     1.0 - std::pow(config_.beta2, t)},
                                    at::TensorOptions(at::kDouble))
                             .to(device_);
  // The last bucket holds the first layers (flat_layout.h), whose weights the next forward needs first.
  for (size_t b = layout_.buckets.size(); b-- > 0;) {
    const FlatBucket& bucket = layout_.buckets[b];
    update(b, overlap(bucket.shard, {bucket.all.begin, bucket.decay_end}), config_.weight_decay, scalars);
    update(b, overlap(bucket.shard, {bucket.decay_end, bucket.all.end}), 0.0, scalars);
    start_gather(b);
  }
  return result;
}

void Optimizer::update(size_t bucket, FlatRange range, double weight_decay, const Tensor& scalars) {
  if (range.empty()) return;
  const FlatRange state = in_state(layout_.buckets[bucket], range);
  kernels::adamw(masters_of(bucket, range), part(grad_, range), part(exp_avg_, state),
                 part(exp_avg_sq_, state), scalars,
                 {.beta1 = config_.beta1,
                  .beta2 = config_.beta2,
                  .epsilon = config_.epsilon,
                  .weight_decay = weight_decay},
                 separate_masters_ ? weights_of(bucket, range) : Tensor());
}

void Optimizer::start_gather(size_t bucket) {
  if (!parallel_.shards_state()) return;
  const FlatBucket& b = layout_.buckets[bucket];
  const auto gather = std::make_shared<Gather>(
      parallel_.data->start_all_gather(weights_[bucket], weights_of(bucket, b.shard)));
  gathers_.push_back(gather);
  for (const FlatSlot& slot : layout_.slots) {
    if (slot.bucket == bucket) slot.parameter->pending = gather;
  }
}

void Optimizer::wait_for_gathers() {
  for (const auto& gather : std::exchange(gathers_, {})) gather->wait();
}

void Optimizer::finish_step() {
  buckets_->cancel();
  for (const FlatSlot& slot : layout_.slots) slot.parameter->has_grad = false;
}

int64_t Optimizer::bytes() const {
  int64_t bytes = 0;
  for (const Tensor* flat : {&grad_, &exp_avg_, &exp_avg_sq_}) {
    if (flat->defined()) bytes += static_cast<int64_t>(flat->nbytes());
  }
  // One master for each moment, in their dtype.
  if (exp_avg_.defined()) bytes += static_cast<int64_t>(exp_avg_.nbytes());
  return bytes;
}

double Optimizer::weight_norm() const {
  return norm_of([this](size_t bucket, FlatRange range) { return masters_of(bucket, range); });
}

std::vector<Optimizer::State> Optimizer::state() const {
  std::vector<State> states;
  for (const FlatSlot& slot : layout_.slots) {
    const FlatBucket& bucket = layout_.buckets[slot.bucket];
    const FlatRange held = overlap(slot.range(), bucket.shard);
    if (held.empty()) continue;
    const Tensor master = masters_of(slot.bucket, held);
    const Tensor exp_avg = part(exp_avg_, in_state(bucket, held));
    const Tensor exp_avg_sq = part(exp_avg_sq_, in_state(bucket, held));
    const FlatRange inside{held.begin - slot.offset, held.end - slot.offset};
    for (const SegmentPart& p : segment_parts(*slot.parameter, inside)) {
      const bool first = is_first_replica(*p.segment, parallel_.world_rank());
      states.push_back({.parameter = slot.parameter,
                        .segment = p.segment,
                        .box = p.global_box,
                        .master = p.view(master, inside.begin),
                        .exp_avg = p.view(exp_avg, inside.begin),
                        .exp_avg_sq = p.view(exp_avg_sq, inside.begin),
                        .writes = first && (parallel_.shards_state() || parallel_.data_rank() == 0)});
    }
  }
  return states;
}

void Optimizer::masters_changed() {
  if (!separate_masters_ || layout_.slots.empty()) return;
  wait_for_gathers();
  for (size_t b = layout_.buckets.size(); b-- > 0;) {
    const FlatRange shard = layout_.buckets[b].shard;
    weights_of(b, shard).copy_(masters_of(b, shard));
    start_gather(b);
  }
}

void Optimizer::weights_changed() {
  if (!separate_masters_ || layout_.slots.empty()) return;
  wait_for_gathers();
  for (size_t b = 0; b < layout_.buckets.size(); ++b) {
    const FlatRange shard = layout_.buckets[b].shard;
    masters_of(b, shard).copy_(weights_of(b, shard));
  }
}

}  // namespace phalanx
