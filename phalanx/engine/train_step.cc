#include "phalanx/engine/train_step.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <numeric>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

// Through pinned memory on its way to a GPU, so that the copy runs beside the computation.
Tensor to_device(const Tensor& values, const Model& model) {
  if (model.device().is_cpu()) return values;
  return values.pin_memory().to(model.device(), /*non_blocking=*/true);
}

Tensor column(const std::vector<int64_t>& values, const Model& model) {
  return to_device(at::tensor(values, at::TensorOptions(at::kLong)), model);
}

// In fp64 on the host side of the sum: rows in order, so micro-batching does not change the digits that matter.
double masked_sum(const Tensor& nll, const HostBatch& host) {
  const Tensor values = nll.to(at::kCPU, at::kDouble).contiguous();
  const double* data = values.data_ptr<double>();
  double sum = 0;
  for (size_t i = 0; i < host.label_mask.size(); ++i) {
    if (host.label_mask[i] != 0) sum += data[i];
  }
  return sum;
}

}  // namespace

int64_t count_labels(const std::vector<HostBatch>& micro_batches) {
  int64_t counted = 0;
  for (const HostBatch& host : micro_batches) {
    counted += std::accumulate(host.label_mask.begin(), host.label_mask.end(), int64_t{0});
  }
  return counted;
}

Batch make_batch(const HostBatch& host, int64_t seq_length, const StepContext& context, double weight,
                 bool training, const Model& model) {
  const auto rows = static_cast<int64_t>(host.tokens.size());
  PHALANX_CHECK(rows == host.num_samples * seq_length, "a micro-batch holds whole samples");
  Batch batch;
  batch.num_samples = host.num_samples;
  batch.seq_length = seq_length;
  batch.training = training;
  batch.random = {.seed = context.seed, .step = context.step};
  batch.token_id =
      at::arange(rows, at::TensorOptions(at::kLong).device(model.device())) + host.first_sample * seq_length;
  batch.tokens = column(host.tokens, model);
  batch.labels = column(host.labels, model);
  batch.position = column(host.position, model);
  if (!host.document.empty()) batch.document = column(host.document, model);
  if (weight != 0) {
    const Tensor mask = to_device(at::tensor(host.label_mask, at::TensorOptions(at::kByte)), model);
    batch.loss_weight = mask.to(accumulator_of(model.dtype())) * weight;
  }
  return batch;
}

StepOutcome run_train_step(Model& model, Optimizer& optimizer, const std::vector<HostBatch>& micro_batches,
                           const StepContext& context) {
  const c10::NoGradGuard no_grad;
  StepOutcome outcome;
  outcome.counted = count_labels(micro_batches);
  if (outcome.counted == 0) {
    throw Error(ErrorKind::kNumeric, {.where = "step " + std::to_string(context.step),
                                      .got = "no unmasked label in the whole global batch",
                                      .needed = "at least one",
                                      .fix = "check the data and the loss masks"});
  }
  const double weight = context.loss_scale / static_cast<double>(outcome.counted);
  WeightGrads grads;
  double nll = 0;
  for (const HostBatch& host : micro_batches) {
    const Batch batch =
        make_batch(host, model.config().seq_length, context, weight, /*training=*/true, model);
    Side side;
    Stash stash;
    nll += masked_sum(model.forward(batch, side, stash), host);
    if (stash.bytes() > outcome.stash_bytes) {
      outcome.stash_bytes = stash.bytes();
      outcome.stash_by_label = stash.bytes_by_label();
    }
    model.backward(batch.loss_weight, batch, side, stash, grads);
    outcome.tokens += batch.num_rows();
  }
  outcome.loss = nll / static_cast<double>(outcome.counted);
  if (context.update) {
    const Optimizer::StepResult result = optimizer.step(context.lr, 1.0 / context.loss_scale);
    outcome.grad_norm = result.grad_norm;
    outcome.applied = result.applied;
  }
  optimizer.finish_step();
  return outcome;
}

EvalSum run_eval(Model& model, const std::vector<HostBatch>& micro_batches, const StepContext& context) {
  const c10::NoGradGuard no_grad;
  EvalSum sum;
  sum.counted = count_labels(micro_batches);
  for (const HostBatch& host : micro_batches) {
    const Batch batch = make_batch(host, model.config().seq_length, context, 0.0, /*training=*/false, model);
    Side side;
    Stash none = Stash::null();
    sum.nll += masked_sum(model.forward(batch, side, none), host);
  }
  return sum;
}

}  // namespace phalanx
