#include "phalanx/train/trainer.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cmath>
#include <filesystem>
#include <numbers>
#include <numeric>
#include <thread>

#include "phalanx/base/clock.h"
#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/base/log.h"
#include "phalanx/checkpoint/checkpoint.h"
#include "phalanx/train/interrupt.h"
#include "phalanx/train/rank_layout.h"
#include "phalanx/train/recompute_config.h"
#include "phalanx/train/train_checkpoint.h"

namespace phalanx {
namespace {

// With *_iters the number of samples is fixed; ramp-up runs are given in samples.
int64_t total_samples(const RunConfig& c) {
  return c.train.train_samples > 0 ? c.train.train_samples : c.train.train_iters * c.train.global_batch_size;
}

// Every evaluation sees the same first samples of the split, so that its curve is comparable with itself.
int64_t valid_samples(const RunConfig& c) {
  return c.train.eval_interval || c.train.skip_train ? c.train.eval_iters * c.train.global_batch_size : 0;
}

SampleSourceOptions source_options(const RunConfig& c, int64_t num_samples) {
  return {.seq_length = c.model.seq_length,
          .vocab_size = c.model.vocab_size,
          .seed = static_cast<uint64_t>(c.train.seed),
          .num_samples = num_samples};
}

// Routes are measured once and must be the same everywhere.
kernels::Gemm agreed_gemm(const RunConfig& config, RankGroups& groups) {
  if (groups.rank() != 0) groups.world().barrier();
  kernels::Gemm gemm = choose_gemm(config);
  if (groups.rank() == 0) groups.world().barrier();
  return gemm;
}

bool same_folder(const std::string& a, const std::string& b) {
  const auto normal = [](const std::string& path) {
    return (std::filesystem::absolute(path) / "").lexically_normal();
  };
  return normal(a) == normal(b);
}

}  // namespace

std::string resume_hint(const RunConfig& config) {
  return "to go on: phalanx train " + config.runtime.run_dir;
}

Trainer::Trainer(RunConfig config, std::shared_ptr<const Tokenizer> tokenizer, TrainRank place)
    : config_(std::move(config)),
      tokenizer_(std::move(tokenizer)),
      alone_(place.groups == nullptr ? single_rank() : nullptr),
      groups_(place.groups == nullptr ? alone_.get() : place.groups),
      exchange_(place.exchange),
      schedules_(schedule_shape(config_.parallel)),
      scaler_(config_.optim, config_.train.dtype == DtypeKind::kFp16),
      schedule_(config_.optim, total_samples(config_), config_.train.global_batch_size),
      batch_size_(config_.train.global_batch_size, config_.train.rampup_batch_size,
                  config_.train.micro_batch_size * groups_->mesh().size("dp")),
      rules_(document_rules(config_.train, tokenizer_.get())) {
  const int64_t cores = std::max(1u, std::thread::hardware_concurrency());
  const int64_t share = std::max<int64_t>(1, cores / groups_->mesh().world_size());
  at::set_num_threads(static_cast<int>(config_.runtime.threads > 0 ? config_.runtime.threads : share));
  if (!config_.train.skip_train) train_ = open_source(SplitPart::kTrain, total_samples(config_));
  if (const int64_t needed = valid_samples(config_); needed > 0)
    valid_ = open_source(SplitPart::kValid, needed);
  if (tokenizer_) token_bytes_ = token_byte_counts(*tokenizer_);
  gemm_ = agreed_gemm(config_, *groups_);
  model_ = std::make_unique<Model>(config_.model, model_options(config_, *groups_), gemm_, groups_->tensor());
  optimizer_ =
      std::make_unique<Optimizer>(model_->parameters(), config_.optim, accumulator_of(model_->dtype()),
                                  optim_parallel(config_, *groups_));
}

Trainer::~Trainer() = default;

std::unique_ptr<SampleSource> Trainer::open_source(SplitPart part, int64_t num_samples) const {
  SampleSourceOptions options = source_options(config_, num_samples);
  options.tokenizer = tokenizer_.get();
  options.cache_folder = config_.runtime.run_dir + "/cache";
  options.first_rank = is_first();
  if (!groups_->is_alone()) options.barrier = [this] { groups_->world().barrier(); };
  return require_sample_source(config_.data, part, options);
}

bool Trainer::done() const {
  return progress_.consumed_samples >= total_samples(config_);
}

int64_t Trainer::samples_of_step(int64_t consumed) const {
  return std::min(total_samples(config_) - consumed, batch_size_.at(consumed));
}

// From where the run stands on: which samples a step takes follows from the samples before it.
void Trainer::start_loader() {
  const auto produce =
      [this, consumed = progress_.consumed_samples]() mutable -> std::optional<std::vector<HostBatch>> {
    const int64_t samples = samples_of_step(consumed);
    if (samples <= 0) return std::nullopt;
    std::vector<HostBatch> batches = micro_batches(*train_, consumed, samples);
    consumed += samples;
    return batches;
  };
  loader_ = std::make_unique<Prefetcher<std::vector<HostBatch>>>(produce, config_.data.prefetch_steps);
}

void Trainer::check_finite(const StepOutcome& outcome) const {
  // With a dynamic loss scale a norm that overflows is a step to skip.
  const bool norm_counts = !scaler_.is_dynamic();
  if (!config_.train.check_for_nan ||
      (std::isfinite(outcome.loss) && (std::isfinite(outcome.grad_norm) || !norm_counts)))
    return;
  const std::optional<int64_t> newest = newest_step(config_.checkpoint.save);
  throw Error(ErrorKind::kNumeric,
              {.where = "step " + std::to_string(progress_.step + 1),
               .got = fmt::format("loss {} and gradient norm {}", outcome.loss, outcome.grad_norm),
               .needed = "finite numbers",
               .fix = (newest ? "start again from step " + std::to_string(*newest) + " (kept) with "
                              : std::string("start again with ")) +
                      "a lower optim.lr, a longer warm-up, or train.iterations_to_skip=" +
                      std::to_string(progress_.step + 1)});
}

int64_t Trainer::one_step(StepMetrics& metrics) {
  const int64_t step = progress_.step + 1;
  const int64_t samples = samples_of_step(progress_.consumed_samples);
  const auto& skip = config_.train.iterations_to_skip;
  StepContext context;
  context.step = step;
  context.seed = static_cast<uint64_t>(config_.train.seed);
  context.lr = schedule_.at(progress_.consumed_samples);
  context.loss_scale = scaler_.scale();
  context.update = std::find(skip.begin(), skip.end(), step) == skip.end();
  const double waited = loader_->waited_seconds();
  const std::optional<std::vector<HostBatch>> batches = loader_->next();
  waited_seconds_ = loader_->waited_seconds() - waited;
  PHALANX_CHECK(batches.has_value(), "the loader ends where the run does");
  const StepOutcome outcome = run_train_step(*model_, *optimizer_, *batches, context, step_layout(step));
  if (config_.log.timeline_step == step) draw_timeline(outcome, step, batches->size());
  if (context.update) check_finite(outcome);
  if (context.update) scaler_.update(outcome.applied);
  if (scaler_.is_dynamic()) metrics.loss_scale = context.loss_scale;
  progress_.step = step;
  progress_.consumed_samples += samples;
  metrics.step = step;
  metrics.loss = outcome.loss;
  metrics.grad_norm = outcome.grad_norm;
  metrics.lr = context.lr;
  metrics.tokens = outcome.tokens;
  metrics.stash_bytes = outcome.stash_bytes;
  metrics.exposed_comm_s = outcome.exposed_comm_s;
  metrics.consumed_samples = progress_.consumed_samples;
  if (!outcome.applied) metrics.skipped = true;
  if (config_.log.memory && step == first_step_) log_memory(outcome);
  if (config_.log.params_norm && step % config_.log.interval == 0) {
    const double norm = optimizer_->weight_norm();
    if (report_) report_->note(fmt::format("step {}: norm of the weights {:.6f}", step, norm));
  }
  if (!outcome.applied && scaler_.is_dynamic())
    return outcome.counted;  // the scale was too large: no outlier
  const OutlierVerdict verdict = outliers_.observe(step, outcome.loss, outcome.grad_norm);
  if (!verdict.ok() && report_) report_->say(verdict.message);
  return outcome.counted;
}

void Trainer::evaluate(StepMetrics& metrics, const InterruptGuard& interrupt) {
  if (!valid_) return;
  EvalSum total;
  double bytes = 0;
  const int64_t count =
      std::min(config_.train.eval_iters * config_.train.global_batch_size, valid_->num_samples());
  const int64_t at_once = config_.train.micro_batch_size * groups_->mesh().size("dp");
  for (int64_t first = 0; first < count; first += at_once) {
    if (any_rank(interrupt.signal() != 0)) return;  // half an evaluation is no number
    const auto batches = micro_batches(*valid_, first, std::min(at_once, count - first));
    const EvalSum sum = run_eval(*model_, batches, {.step = progress_.step}, step_layout(0));
    total.nll += sum.nll;
    total.counted += sum.counted;
    for (const HostBatch& host : batches) {
      for (size_t i = 0; i < host.labels.size() && !token_bytes_.empty(); ++i) {
        const auto label = static_cast<size_t>(host.labels[i]);
        if (host.label_mask[i] != 0 && label < token_bytes_.size())
          bytes += static_cast<double>(token_bytes_[label]);
      }
    }
  }
  if (total.counted == 0) return;
  if (groups_->data().size() > 1) {
    Tensor all = at::full({1}, bytes, at::TensorOptions(at::kDouble));
    groups_->data().all_reduce(all);
    bytes = all.item<double>();
  }
  metrics.valid_loss = total.nll / static_cast<double>(total.counted);
  if (bytes > 0) metrics.valid_bpb = total.nll / std::numbers::ln2 / bytes;
}

void Trainer::load_folder(const std::string& folder, bool own_run) {
  const bool with_state = own_run || !config_.checkpoint.finetune;
  const TrainState state = load_training(config_, folder, *model_, *optimizer_, with_state);
  if (!with_state) return;
  progress_ = {state.step, state.consumed_samples};
  optimizer_->set_updates(state.updates);
  outliers_.from_json(state.outliers, folder);
  if (!state.loss_scaler.is_null()) scaler_.from_json(state.loss_scaler, folder);
  if (own_run) saved_step_ = state.step;
  if (is_first()) log_info(fmt::format("resumed from {} at step {}", folder, state.step));
}

void Trainer::load() {
  const CheckpointConfig& c = config_.checkpoint;
  const auto step = c.load_step ? c.load_step : newest_step(c.save);
  if (step && (path_exists(step_folder(c.save, *step)) || c.load.empty())) {
    load_folder(step_folder(c.save, *step), /*own_run=*/true);
    if (!groups_->is_alone()) groups_->world().barrier();  // all have read
    if (!config_.train.skip_train && is_first()) set_newer_aside(c.save, *step);
    return;
  }
  if (c.load.empty()) return;
  // Scripts give --save and --load the same folder, also for the first start.
  if (same_folder(c.load, c.save) && !newest_step(c.save)) {
    log_warning(fmt::format("{}: nothing to load yet; the run starts from new weights", c.load));
    return;
  }
  load_folder(resolve_checkpoint_folder(c.load, c.load_step), /*own_run=*/false);
}

bool Trainer::leave_now(double started) {
  const auto& t = config_.train;
  if (t.exit_interval && progress_.step % *t.exit_interval == 0) return true;
  return t.exit_duration_minutes && monotonic_seconds() - started > 60.0 * *t.exit_duration_minutes;
}

// A run that was finished before has its last numbers in its own record.
void Trainer::fill_from_record(TrainSummary& summary) const {
  for (const StepMetrics& m : read_metrics(config_.runtime.run_dir + "/metrics.jsonl")) {
    summary.last_loss = m.loss;
    if (m.valid_loss) summary.valid_loss = m.valid_loss;
    if (m.valid_bpb) summary.valid_bpb = m.valid_bpb;
  }
  log_info(fmt::format("nothing left to do: step {} was the last; raise train.train_iters to go on",
                       progress_.step));
}

TrainSummary Trainer::run(InterruptGuard& interrupt) {
  const double started = monotonic_seconds();
  const double peak = measure_world_flops(gemm_, model_->dtype(), model_->device(), groups_->world());
  int64_t steps_left = 0;
  for (int64_t consumed = progress_.consumed_samples; consumed < total_samples(config_); ++steps_left)
    consumed += samples_of_step(consumed);
  if (is_first())
    report_ = std::make_unique<RunReport>(
        config_, ReportOptions{.first_step = progress_.step + 1,
                               .last_step = progress_.step + steps_left,
                               .start_over = saved_step_ < 0 && !config_.train.skip_train,
                               .ranks = groups_->world().size(),
                               .peak_flops = peak});
  first_step_ = progress_.step + 1;
  if (!config_.train.skip_train) start_loader();
  interrupt.arm();
  TrainSummary summary;
  bool leave = false;
  while (!done() && !leave && !config_.train.skip_train) {
    StepMetrics metrics;
    const double before = monotonic_seconds();
    const int64_t consumed = progress_.consumed_samples;
    const int64_t counted = one_step(metrics);
    metrics.seconds = monotonic_seconds() - before;
    metrics.data_stall = waited_seconds_ / metrics.seconds;
    const auto& t = config_.train;
    if (t.eval_interval && (progress_.step % *t.eval_interval == 0 || done())) evaluate(metrics, interrupt);
    if (report_) report_->step(metrics, progress_.consumed_samples - consumed, counted);
    summary.last_loss = metrics.loss;
    if (metrics.valid_loss) summary.valid_loss = metrics.valid_loss;
    if (metrics.valid_bpb) summary.valid_bpb = metrics.valid_bpb;
    leave = any_rank(interrupt.signal() != 0 || leave_now(started));
    const auto& every = config_.checkpoint.save_interval;
    if (leave || done() || (every && progress_.step % *every == 0)) save();
  }
  if (config_.train.skip_train) {
    StepMetrics metrics;
    evaluate(metrics, interrupt);
    summary.valid_loss = metrics.valid_loss;
    summary.valid_bpb = metrics.valid_bpb;
  }
  if (report_) report_->finish();
  if (!config_.train.skip_train && progress_.step + 1 == first_step_ && is_first()) fill_from_record(summary);
  summary.progress = progress_;
  summary.finished = done();
  if (!summary.finished && !config_.train.skip_train && is_first()) {
    log_info(fmt::format("stopped after step {} and saved it; {}", progress_.step, resume_hint(config_)));
  }
  return summary;
}

}  // namespace phalanx
