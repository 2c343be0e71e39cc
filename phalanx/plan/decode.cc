#include "phalanx/plan/decode.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "phalanx/base/error.h"
#include "phalanx/plan/counts.h"
#include "phalanx/telemetry/human.h"

namespace phalanx {
namespace {

constexpr double kMiB = 1048576.0;

std::string tokens_text(int64_t tokens) {
  return tokens % 1024 == 0 && tokens > 0 ? fmt::format("{}K", tokens / 1024) : std::to_string(tokens);
}

std::string describe(const PlanModel& model, const DecodeOptions& options) {
  return fmt::format(
      "  {}: {} parameters, {} attention layers of {} key/value groups: {} B a token, {} Mamba layers: "
      "{:.1f} MiB a sequence\n",
      model.name, human_count(static_cast<double>(count_parameters(model).total())),
      model.count(LayerKind::kAttention), model.kv_groups, kv_bytes_per_token(model, options),
      model.count(LayerKind::kMamba2) + model.count(LayerKind::kMamba1), state_bytes(model, options) / kMiB);
}

}  // namespace

double state_bytes(const PlanModel& model, const DecodeOptions& options) {
  const auto bytes = [&](LayerKind kind, int64_t state, int64_t conv) {
    return static_cast<double>(model.count(kind)) * (static_cast<double>(state) * options.state_bytes +
                                                     static_cast<double>(conv) * options.conv_bytes);
  };
  const MambaSizes& two = model.mamba;
  const Mamba1Sizes& one = model.mamba1;
  return bytes(LayerKind::kMamba2, two.heads() * two.head_dim * two.state, two.conv_width() * two.conv) +
         bytes(LayerKind::kMamba1, one.inner * one.state, one.inner * one.conv);
}

double kv_bytes_per_token(const PlanModel& model, const DecodeOptions& options) {
  return static_cast<double>(model.count(LayerKind::kAttention) * 2 * model.kv_groups * model.head_dim) *
         options.kv_bytes;
}

double decode_seconds(const PlanModel& model, const Cluster& cluster, int64_t batch, int64_t context,
                      const DecodeOptions& options) {
  PHALANX_CHECK(batch >= 1 && context >= 0, "a batch of sequences");
  const ParameterCounts counts = count_parameters(model);
  const int64_t unread = counts.position_embedding + (model.tied ? 0 : counts.token_embedding);
  const auto sequences = static_cast<double>(batch);
  const double each =
      static_cast<double>(context) * kv_bytes_per_token(model, options) + 2 * state_bytes(model, options);
  const double bytes = static_cast<double>(counts.total() - unread) * options.weight_bytes + sequences * each;
  const double flops = 2 * static_cast<double>(counts.total()) * sequences;
  return std::max(bytes / (cluster.memory_bandwidth * cluster.memory_efficiency),
                  flops / (cluster.peak_flops * cluster.matmul_efficiency));
}

int64_t largest_batch(const PlanModel& model, const Cluster& cluster, int64_t context,
                      const DecodeOptions& options) {
  const double each =
      static_cast<double>(context) * kv_bytes_per_token(model, options) + state_bytes(model, options);
  const double room = static_cast<double>(cluster.memory_bytes) -
                      static_cast<double>(count_parameters(model).total()) * options.weight_bytes;
  PHALANX_CHECK(each > 0, "a sequence takes memory");
  return room <= 0 ? 0 : static_cast<int64_t>(room / each);
}

std::string decode_table_text(const PlanModel& model, const PlanModel& baseline, const Cluster& cluster,
                              const std::vector<int64_t>& batches, const std::vector<int64_t>& contexts,
                              const DecodeOptions& options) {
  std::string out = fmt::format("One step of generation on one accelerator of {}, {:.2f} TB/s:\n",
                                cluster.name, cluster.memory_bandwidth * cluster.memory_efficiency * 1e-12);
  out += describe(model, options) + describe(baseline, options);
  const size_t wide = std::max<size_t>({model.name.size() + 3, baseline.name.size() + 3, 10});
  out += fmt::format("\n{:>7} {:>8} {:>{}} {:>{}} {:>9}\n", "batch", "context", model.name + " ms", wide,
                     baseline.name + " ms", wide, "speedup");
  for (const int64_t batch : batches) {
    for (const int64_t context : contexts) {
      const double fast = decode_seconds(model, cluster, batch, context, options);
      const double slow = decode_seconds(baseline, cluster, batch, context, options);
      out += fmt::format("{:>7} {:>8} {:>{}.2f} {:>{}.2f} {:>9.1f}\n", batch, tokens_text(context),
                         fast * 1e3, wide, slow * 1e3, wide, slow / fast);
    }
  }
  out += fmt::format("\nLargest batch in {}:\n", human_bytes(static_cast<double>(cluster.memory_bytes)));
  for (const int64_t context : contexts) {
    out += fmt::format("{:>16} {:>{}} {:>{}}\n", tokens_text(context),
                       largest_batch(model, cluster, context, options), wide,
                       largest_batch(baseline, cluster, context, options), wide);
  }
  const double kv = kv_bytes_per_token(model, options);
  if (kv > 0) {
    out +=
        fmt::format("\nAt long contexts the speedup tends to {:.1f}, the ratio of key/value bytes a token.\n",
                    kv_bytes_per_token(baseline, options) / kv);
  }
  return out;
}

}  // namespace phalanx
