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

// Sums over data ranks, or over all ranks; in place.
void sum_over(comm::Group& group, std::vector<int64_t*> numbers) {
  if (group.size() == 1) return;
  Tensor all = at::empty({static_cast<int64_t>(numbers.size())}, at::TensorOptions(at::kLong));
  for (size_t i = 0; i < numbers.size(); ++i) all.data_ptr<int64_t>()[i] = *numbers[i];
  group.all_reduce(all);
  for (size_t i = 0; i < numbers.size(); ++i) *numbers[i] = all.data_ptr<int64_t>()[i];
}

double sum_over(comm::Group& group, double value) {
  if (group.size() == 1) return value;
  Tensor one = at::full({1}, value, at::TensorOptions(at::kDouble));
  group.all_reduce(one);
  return one.item<double>();
}

ExecutorGroups executor_groups(const StepLayout& layout) {
  if (layout.groups == nullptr) return {};
  RankGroups& groups = *layout.groups;
  return {.pipeline = groups.pipeline().size() > 1 ? &groups.pipeline() : nullptr,
          .tensor = &groups.tensor()};
}

// Each sum of the last stage once: tensor-parallel ranks have equal ones.
double nll_of(const ExecutorResult& result, const std::vector<HostBatch>& hosts, const StepLayout& layout) {
  double nll = 0;
  if (layout.groups == nullptr || layout.groups->tensor().rank() == 0) {
    for (size_t i = 0; i < hosts.size(); ++i) {
      if (result.nll[i].defined()) nll += masked_sum(result.nll[i], hosts[i]);
    }
  }
  return layout.groups == nullptr ? nll : sum_over(layout.groups->world(), nll);
}

std::vector<Batch> make_batches(const std::vector<HostBatch>& hosts, const StepContext& context,
                                double weight, bool training, const Model& model) {
  std::vector<Batch> batches;
  for (const HostBatch& host : hosts) {
    batches.push_back(make_batch(host, model.config().seq_length, context, weight, training, model));
  }
  return batches;
}

// A data rank without micro-batches computes nothing.
ExecutorResult execute(Model& model, const std::vector<Batch>& batches, const StepLayout& layout,
                       bool forward_only, const ExecutorOptions& options) {
  if (batches.empty()) return {};
  ScheduleSource alone({});
  ScheduleSource& schedules = layout.schedules == nullptr ? alone : *layout.schedules;
  const Schedule& schedule = schedules.of(static_cast<int>(batches.size()), forward_only);
  return run_schedule(model, schedule, executor_groups(layout), batches, options);
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
  const ParameterPlace& place = model.part().place;
  if (training && place.sequence_parallel) {
    batch.row_shards = place.tp.size;
    batch.row_shard = place.tp.rank;
  }
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
                           const StepContext& context, const StepLayout& layout) {
  const c10::NoGradGuard no_grad;
  StepOutcome outcome;
  const double waited = layout.groups == nullptr ? 0 : layout.groups->clock().exposed;
  outcome.counted = count_labels(micro_batches);
  for (const HostBatch& host : micro_batches) outcome.tokens += static_cast<int64_t>(host.tokens.size());
  if (layout.groups != nullptr) sum_over(layout.groups->data(), {&outcome.counted, &outcome.tokens});
  if (outcome.counted == 0) {
    throw Error(ErrorKind::kNumeric, {.where = "step " + std::to_string(context.step),
                                      .got = "no unmasked label in the whole global batch",
                                      .needed = "at least one",
                                      .fix = "check the data and the loss masks"});
  }
  const double weight = context.loss_scale / static_cast<double>(outcome.counted);
  const std::vector<Batch> batches = make_batches(micro_batches, context, weight, /*training=*/true, model);
  optimizer.begin_step(static_cast<int64_t>(micro_batches.size()));
  ExecutorResult result = execute(model, batches, layout, /*forward_only=*/false,
                                  {.stash = layout.stash,
                                   .scatter_gather = layout.scatter_gather,
                                   .record = layout.record,
                                   .on_applied = [&](Parameter& p) { optimizer.on_applied(p); }});
  outcome.loss = nll_of(result, micro_batches, layout) / static_cast<double>(outcome.counted);
  outcome.stash_bytes = result.stash_bytes;
  outcome.host_bytes = result.host_bytes;
  outcome.stash_by_label = std::move(result.stash_by_label);
  outcome.stash_items = std::move(result.items);
  outcome.peak_pairs = result.peak_pairs;
  outcome.spans = std::move(result.spans);
  outcome.started = result.started;
  if (context.update) {
    const Optimizer::StepResult step = optimizer.step(context.lr, 1.0 / context.loss_scale);
    outcome.grad_norm = step.grad_norm;
    outcome.applied = step.applied;
  }
  optimizer.finish_step();
  if (layout.groups != nullptr) outcome.exposed_comm_s = layout.groups->clock().exposed - waited;
  return outcome;
}

EvalSum run_eval(Model& model, const std::vector<HostBatch>& micro_batches, const StepContext& context,
                 const StepLayout& layout) {
  const c10::NoGradGuard no_grad;
  EvalSum sum;
  sum.counted = count_labels(micro_batches);
  if (layout.groups != nullptr) sum_over(layout.groups->data(), {&sum.counted});
  const std::vector<Batch> batches = make_batches(micro_batches, context, 0.0, /*training=*/false, model);
  const ExecutorResult result = execute(model, batches, layout, /*forward_only=*/true, {});
  sum.nll = nll_of(result, micro_batches, layout);
  return sum;
}

}  // namespace phalanx
