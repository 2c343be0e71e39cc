#include "phalanx/train/report.h"

#include <ATen/ATen.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "phalanx/arch/pattern.h"
#include "phalanx/base/clock.h"
#include "phalanx/base/fs.h"
#include "phalanx/base/log.h"
#include "phalanx/plan/plan_flops.h"
#include "phalanx/telemetry/svg.h"

namespace phalanx {
namespace {

void to_stderr(std::string_view text) {
  const ssize_t ignored = ::write(STDERR_FILENO, text.data(), text.size());
  (void)ignored;
}

std::string metrics_path(const RunConfig& config, bool start_over) {
  const std::string path = config.runtime.run_dir + "/metrics.jsonl";
  if (!start_over || !path_exists(path)) return path;
  int number = 1;
  while (path_exists(path + "." + std::to_string(number))) ++number;
  const std::string aside = path + "." + std::to_string(number);
  std::filesystem::rename(path, aside);
  log_info("no checkpoint to go on from: the metrics of an earlier run are now " + aside);
  return path;
}

}  // namespace

GptFlopsShape flops_shape(const ModelConfig& m) {
  const std::vector<LayerKind> layers = parse_pattern(m.pattern).layers;
  return {.attention_layers = std::count(layers.begin(), layers.end(), LayerKind::kAttention),
          .mlp_layers = std::count(layers.begin(), layers.end(), LayerKind::kMlp),
          .hidden = m.hidden_size,
          .mlp_hidden = m.ffn_hidden_size,
          .vocab = m.padded_vocab_size(),
          .heads = m.num_attention_heads,
          .kv_groups = m.num_query_groups,
          .head_dim = m.kv_channels,
          .gated_mlp = is_gated(m.activation)};
}

double train_flops(const ModelConfig& config, int64_t samples) {
  const Pattern pattern = parse_pattern(config.pattern);
  if (!has_mamba(pattern)) return gpt_flops(flops_shape(config), samples, config.seq_length);
  const PlanModel model = plan_model(config, "model");
  const TokenBatch batch = token_batch(samples, config.seq_length);
  const auto scans = static_cast<double>(model.count(LayerKind::kMamba2));
  const double counted =
      ssd_flops(model.mamba, batch.tokens, 64) - meter_scan_flops(model.mamba, batch.tokens);
  return 3 * (forward_flops(model, batch, AttentionSpan::kCausal) + scans * counted);
}

double measure_gemm_flops(const kernels::Gemm& gemm, at::ScalarType dtype, at::Device device) {
  return measure_world_flops(gemm, dtype, device, *comm::make_self_group("gemm rate"));
}

double measure_world_flops(const kernels::Gemm& gemm, at::ScalarType dtype, at::Device device,
                           comm::Group& world) {
  constexpr int64_t n = 768;
  const auto options = at::TensorOptions(dtype).device(device);
  const Tensor a = at::ones({n, n}, options);
  Tensor c = at::empty({n, n}, options);
  double best = 1e9;
  for (int i = 0; i < 6; ++i) {
    world.barrier();
    const double before = monotonic_seconds();
    gemm(a, a, c, 0.0);
    c[0][0].item<double>();  // waits for a device that runs asynchronously
    world.barrier();
    best = std::min(best, monotonic_seconds() - before);
  }
  return 2.0 * n * n * n * world.size() / best;
}

RunReport::RunReport(const RunConfig& config, const ReportOptions& options)
    : config_(config),
      ranks_(options.ranks),
      peak_flops_(options.peak_flops / static_cast<double>(options.ranks)),
      sample_flops_(train_flops(config.model, 1)),
      logits_flops_(6.0 * static_cast<double>(config.model.hidden_size * config.model.padded_vocab_size())),
      metrics_(metrics_path(config, options.start_over)),
      // TensorBoard hides what earlier files of the folder say about these steps.
      board_(config.log.tensorboard_dir, {.first_step = options.first_step, .wall_clock = {}}),
      line_({.total_steps = options.last_step,
             .first_step = options.first_step,
             .log_interval = config.log.interval,
             .terminal = stderr_terminal()},
            to_stderr, monotonic_seconds) {}

void RunReport::step(StepMetrics& metrics, int64_t samples, int64_t counted) {
  const double flops = sample_flops_ * static_cast<double>(samples) -
                       logits_flops_ * static_cast<double>(metrics.tokens - counted);
  metrics.tokens_per_s = metrics.seconds > 0 ? static_cast<double>(metrics.tokens) / metrics.seconds : 0;
  metrics.tflops = tflops_per_device(flops, metrics.seconds, ranks_);
  metrics.mfu = mfu(flops, metrics.seconds, ranks_, peak_flops_);
  metrics_.append(metrics);
  board_.metrics(metrics);
  line_.update(metrics);
  if (line_.log_due(metrics.step) || metrics.valid_loss) {
    line_.clear();
    log_info(line_.log_line(metrics));
  }
}

void RunReport::say(const std::string& text) {
  line_.clear();
  log_warning(text);
}

void RunReport::note(const std::string& text) {
  line_.clear();
  log_info(text);
}

void RunReport::finish() {
  line_.finish();
  metrics_.close();
  board_.close();
}

void RunReport::plot(const std::string& run_dir,
                     const std::vector<std::pair<double, std::string>>& references) {
  PlotSeries train{.name = "train", .x = {}, .y = {}, .smoothing = 0.9};
  PlotSeries valid{.name = "validation", .x = {}, .y = {}};
  for (const StepMetrics& m : read_metrics(run_dir + "/metrics.jsonl")) {
    train.x.push_back(static_cast<double>(m.step));
    train.y.push_back(m.loss);
    if (m.valid_loss) {
      valid.x.push_back(static_cast<double>(m.step));
      valid.y.push_back(*m.valid_loss);
    }
  }
  LinePlot plot{.title = "Loss", .subtitle = "", .x_label = "step", .y_label = "nats per token"};
  plot.series.push_back(std::move(train));
  if (!valid.x.empty()) plot.series.push_back(std::move(valid));
  for (const auto& [value, label] : references) plot.references.push_back({value, label});
  write_svg(run_dir + "/loss.svg", plot);
}

}  // namespace phalanx
