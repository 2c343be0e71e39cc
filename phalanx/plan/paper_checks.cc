#include "phalanx/plan/paper_checks.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "phalanx/plan/plan_flops.h"
#include "phalanx/plan/published.h"
#include "phalanx/plan/step_comm.h"
#include "phalanx/plan/time_model.h"

namespace phalanx {
namespace {

PaperCheck compare(std::string table, std::string row, std::string unit, double published, double ours,
                   double bar, bool points = false) {
  PaperCheck check{.table = std::move(table),
                   .row = std::move(row),
                   .unit = std::move(unit),
                   .published = published,
                   .ours = ours,
                   .bar = bar,
                   .points = points};
  check.met = std::abs(check.off()) <= bar;
  return check;
}

// Papers 1 and 3 count the recomputed forward (eq. 3).
double eq3_tflops(const PlanModel& model, const PlanLayout& layout, double seconds) {
  const double flops = paper_flops(layout.global_batch, model.sequence, model.count(LayerKind::kAttention),
                                   model.hidden, model.vocab)
                           .full;
  return flops / seconds / static_cast<double>(layout.world()) / 1e12;
}

double predicted_tflops(const PlanModel& model, const PlanLayout& layout, const Cluster& cluster,
                        std::string_view software) {
  return eq3_tflops(model, layout, step_time(model, layout, cluster, find_software(software)).seconds);
}

// One layer: attention and MLP.
LayerTime transformer_layer(const PlanModel& model, const PlanLayout& layout, const Cluster& cluster,
                            const Software& software) {
  const PriceContext context{.model = model,
                             .layout = layout,
                             .cluster = cluster,
                             .software = software,
                             .comm = step_comm(model, layout, cluster, software, 0).layer};
  return layer_time(LayerKind::kAttention, context) + layer_time(LayerKind::kMlp, context);
}

double combined(const LayerTime& time) {
  return (time.forward + time.backward_input + time.backward_weight + time.recompute).total() - time.hidden;
}

}  // namespace

double PaperCheck::off() const {
  return points ? ours - published : 100 * (ours / published - 1);
}

std::vector<PaperCheck> table_1_checks(const Cluster& cluster) {
  std::vector<PaperCheck> checks;
  for (const WeakScalingRow& row : weak_scaling_rows()) {
    checks.push_back(compare("table 1", fmt::format("{:.1f}B", row.params_billion), "TFLOP/s", row.tflops,
                             predicted_tflops(model_of(row), layout_of(row), cluster, "megatron-2021"), 5));
    checks.back().fitted =
        row.params_billion == 1.7 || row.params_billion == 39.1 || row.params_billion == 1008.0;
  }
  return checks;
}

std::vector<PaperCheck> table_2_checks(const Cluster& cluster) {
  std::vector<PaperCheck> checks;
  for (const ZeroRow& row : zero_rows()) {
    checks.push_back(
        compare("table 2",
                fmt::format("{} {:.0f}B on {}", row.zero3 ? "ZeRO-3" : "PTD", row.params_billion, row.gpus),
                "TFLOP/s", row.tflops,
                predicted_tflops(model_of(row), layout_of(row), cluster,
                                 row.zero3 ? "deepspeed-2021" : "megatron-2021"),
                15));
  }
  return checks;
}

std::vector<PaperCheck> table_4_checks(const Cluster& cluster) {
  const Software& software = find_software("megatron-2022");
  const RecomputeRow& row = recompute_rows().front();
  const PlanModel model = model_of(row);
  std::vector<PaperCheck> checks;
  double baseline = 0;
  for (const LayerTimeRow& layer : layer_time_rows()) {
    PlanLayout layout = layout_of(row);
    layout.sequence_parallel = layer.sequence_parallel;
    layout.recompute = layer.recompute;
    const double ms = 1e3 * combined(transformer_layer(model, layout, cluster, software));
    if (checks.empty()) baseline = ms;
    checks.push_back(compare("table 4", std::string(layer.name), "ms", layer.combined_ms, ms, 10));
    if (baseline == ms) continue;
    checks.push_back(compare("table 4", std::string(layer.name) + ", overhead", "%", layer.overhead_percent,
                             100 * (ms / baseline - 1), 3, true));
  }
  return checks;
}

std::vector<PaperCheck> table_5_checks(const Cluster& cluster) {
  const Software& software = find_software("megatron-2022");
  std::vector<PaperCheck> checks;
  for (const RecomputeRow& row : recompute_rows()) {
    const PlanModel model = model_of(row);
    PlanLayout layout = layout_of(row);
    const std::string name(row.name);
    checks.push_back(compare("table 5", name + ", present work", "s", row.present_seconds,
                             step_time(model, layout, cluster, software).seconds, 10));
    layout.sequence_parallel = false;
    layout.recompute = PlanRecompute::kFull;
    checks.push_back(compare("table 5", name + ", full recompute", "s", row.full_seconds,
                             step_time(model, layout, cluster, software).seconds, 10));
    if (name != "530B") continue;
    PlanLayout replicated = layout_of(row);
    replicated.dp = kReplicatedGpus / row.gpus;
    replicated.global_batch = kReplicatedBatch;
    checks.push_back(compare("table 5", "530B, 8 replicas", "s", kReplicatedSeconds,
                             step_time(model, replicated, cluster, software).seconds, 10));
  }
  return checks;
}

std::vector<PaperCheck> mt_nlg_checks(const Cluster& cluster) {
  const Software& software = find_software("megatron-deepspeed-2022");
  const PlanModel model = mt_nlg_model();
  std::vector<PaperCheck> checks;
  std::vector<double> tflops;
  for (const MtNlgRow& row : mt_nlg_rows()) {
    const PlanLayout layout = layout_of(row);
    const double seconds = step_time(model, layout, cluster, software).seconds;
    tflops.push_back(eq3_tflops(model, layout, seconds));
    const std::string name = fmt::format("{} GPUs", row.gpus);
    checks.push_back(compare("MT-NLG", name, "s", row.seconds, seconds, 3));
    checks.back().fitted = row.gpus == 2800;
    checks.push_back(compare("MT-NLG", name + ", without step_overhead", "s", row.seconds,
                             seconds - software.step_overhead, 3));
  }
  const auto rows = mt_nlg_rows();
  checks.push_back(compare("MT-NLG", "slope, first to last", "TFLOP/s",
                           rows.back().tflops - rows.front().tflops, tflops.back() - tflops.front(), 2,
                           true));
  return checks;
}

std::vector<PaperCheck> paper_checks(const Cluster& cluster) {
  std::vector<PaperCheck> all;
  for (const auto& part : {table_1_checks(cluster), table_2_checks(cluster), table_4_checks(cluster),
                           table_5_checks(cluster), mt_nlg_checks(cluster), figure_checks(cluster)}) {
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

std::string to_text(const std::vector<PaperCheck>& checks) {
  std::string text;
  std::string table;
  for (const PaperCheck& check : checks) {
    if (check.table != table) {
      table = check.table;
      const bool order = check.unit.empty();
      text += fmt::format("{}{:<44} {:>9} {:>9} {:>8}  {}\n", text.empty() ? "" : "\n", table,
                          order ? "lower" : "published", order ? "higher" : "ours", order ? "" : "off",
                          order ? "" : "bar");
    }
    if (check.unit.empty()) {
      text += fmt::format("  {:<42} {:>9.4g} {:>9.4g}           {}\n", check.row, check.published, check.ours,
                          check.met ? "order holds" : "ORDER BROKEN");
      continue;
    }
    text += fmt::format("  {:<42} {:>9.4g} {:>9.4g} {:>+7.1f}{}  {:g}{} {}\n", check.row, check.published,
                        check.ours, check.off(), check.points ? " " : "%", check.bar,
                        check.points ? "" : " %", check.fitted ? "fitted" : (check.met ? "met" : "MISSED"));
  }
  return text;
}

}  // namespace phalanx
