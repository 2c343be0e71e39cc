#include "apps/phalanx/plan_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "phalanx/base/error.h"
#include "phalanx/pipeline/generate.h"
#include "phalanx/plan/placement.h"
#include "phalanx/plan/topology.h"
#include "phalanx/telemetry/human.h"

namespace phalanx::apps {
namespace {

TokenBatch tokens_of(const PlanRequest& request, const PlanLayout& layout) {
  return token_batch(layout.global_batch, request.model.sequence);
}

std::vector<std::string> placement_of(const PlanRequest& request) {
  const std::vector<int64_t> parameters = rank_parameters(request.model, request.layout);
  const double most = static_cast<double>(std::ranges::max(parameters));
  return placement_notes(request.layout, request.cluster,
                         axis_bytes(request.model, request.layout, most, request.software.gradient_bytes));
}

// TFLOP/s a GPU and shares of the peak.
struct Rates {
  double model = 0;
  double hardware = 0;
  double mfu = 0;
  double hfu = 0;
  double tokens = 0;
};

Rates rates_of(const PlanRequest& request, const PlanLayout& layout, double seconds) {
  const StepFlops flops = flops_of(request, layout);
  const double gpu_seconds = seconds * static_cast<double>(layout.world());
  return {.model = flops.model / gpu_seconds,
          .hardware = flops.hardware / gpu_seconds,
          .mfu = flops.model / gpu_seconds / request.cluster.peak_flops,
          .hfu = flops.hardware / gpu_seconds / request.cluster.peak_flops,
          .tokens = static_cast<double>(layout.global_batch * request.model.sequence) / seconds};
}

std::string parts_text(const StepTime& time) {
  std::string text;
  for (const TimePart& part : time_parts(time)) {
    if (part.seconds < 0.0005 * time.seconds) continue;
    text += fmt::format("  {:<32} {:>10.4g} s {:>6.1f} %\n", part.name, part.seconds,
                        100 * part.seconds / time.seconds);
  }
  return text;
}

std::string memory_text(const RankMemory& rank) {
  std::string text;
  for (const ByteItem& item : memory_items(rank)) {
    if (item.bytes == 0) continue;
    text +=
        fmt::format("  {:<32} {:>10} {:>6.1f} %\n", item.label, human_bytes(static_cast<double>(item.bytes)),
                    100.0 * static_cast<double>(item.bytes) / static_cast<double>(rank.total()));
  }
  return text;
}

Json time_json(const StepTime& time) {
  Json parts = Json::object();
  for (const TimePart& part : time_parts(time)) parts[part.name] = part.seconds;
  return {{"seconds", time.seconds},
          {"simulated", time.simulated},
          {"bubble_share", time.bubble_share()},
          {"parts", parts}};
}

Json layout_fields(const PlanLayout& layout) {
  return {{"tp", layout.tp},
          {"sequence_parallel", layout.sequence_parallel},
          {"pp", layout.pp},
          {"chunks", layout.chunks},
          {"cp", layout.cp},
          {"dp", layout.dp},
          {"schedule", layout.schedule},
          {"micro_batch", layout.micro_batch},
          {"micro_batches", layout.micro_batches()},
          {"global_batch", layout.global_batch},
          {"recompute", recompute_name(layout.recompute)},
          {"zero", layout.zero},
          {"order", layout.order}};
}

Json rates_json(const Rates& rates) {
  return {{"model_flops_per_gpu_s", rates.model},
          {"hardware_flops_per_gpu_s", rates.hardware},
          {"mfu", rates.mfu},
          {"hfu", rates.hfu},
          {"tokens_per_s", rates.tokens}};
}

Json memory_json(const RankMemory& rank) {
  Json items = Json::object();
  for (const ByteItem& item : memory_items(rank)) items[std::string(item.label)] = item.bytes;
  return {{"bytes", rank.total()}, {"items", items}};
}

std::vector<std::string> violations_of(const PlanRequest& request) {
  std::vector<std::string> all = layout_violations(request.model, request.layout);
  if (!all.empty()) return all;
  return topology_violations(request.layout, request.cluster);
}

}  // namespace

StepFlops flops_of(const PlanRequest& request, const PlanLayout& layout) {
  return step_flops(request.model, layout.recompute, tokens_of(request, layout),
                    request.software.fused_attention ? AttentionSpan::kCausal : AttentionSpan::kFull);
}

PricedLayout price_layout(const PlanRequest& request) {
  std::string broken;
  for (const std::string& violation : violations_of(request))
    broken += (broken.empty() ? "" : "; ") + violation;
  if (!broken.empty()) {
    throw Error(ErrorKind::kBadInput, {.where = "layout " + to_string(request.layout),
                                       .got = broken,
                                       .fix = "phalanx plan --search lists layouts that divide"});
  }
  const PlanLayout& layout = request.layout;
  PricedLayout priced;
  priced.schedule = make_schedule({.kind = layout.schedule,
                                   .pp = static_cast<int>(layout.pp),
                                   .chunks = static_cast<int>(layout.chunks),
                                   .micro_batches = static_cast<int>(layout.micro_batches())});
  priced.counts = count_parameters(request.model);
  priced.flops = flops_of(request, layout);
  priced.meter = read_meter(meter_model(request.model), tokens_of(request, layout));
  priced.memory = plan_memory(request.model, layout, request.memory(), &priced.schedule);
  priced.time = step_time(request.model, layout, request.cluster, request.software, priced.schedule);
  priced.notes = placement_of(request);
  return priced;
}

std::string layout_text(const PlanRequest& request, const PricedLayout& priced) {
  const PlanLayout& layout = request.layout;
  const Rates rates = rates_of(request, layout, priced.time.seconds);
  const RankMemory& worst = priced.memory.ranks[priced.memory.worst];
  std::string text = fmt::format("model      {}: {} parameters, {}, sequence {}\n", request.model.name,
                                 human_count(static_cast<double>(priced.counts.total())),
                                 to_string(request.model.pattern), request.model.sequence);
  text += fmt::format("layout     {}\n", to_string(layout));
  text += fmt::format("machine    {} GPUs of {}, as {} would run it\n", layout.world(), request.cluster.name,
                      request.software.name);
  text += fmt::format(
      "step       {:.4g} s, {} tokens/s; {:.1f} TFLOP/s a GPU of the model ({} MFU), {:.1f} with "
      "recomputation ({} HFU)\n",
      priced.time.seconds, human_count(rates.tokens), rates.model / 1e12, human_percent(rates.mfu),
      rates.hardware / 1e12, human_percent(rates.hfu));
  text += fmt::format(
      "FLOP       {:.6g} a step of the model, {:.6g} with recomputation; Megatron's meter {:.6g}, corrected "
      "{:.6g}\n",
      priced.flops.model, priced.flops.hardware, priced.meter.megatron, priced.meter.corrected);
  text += fmt::format("bubble     {} of the ideal time\n", human_percent(priced.time.bubble_share()));
  text += "\ntime of the fullest rank\n" + parts_text(priced.time);
  text += fmt::format("\nmemory of rank {} of the pipeline, which needs most: {} of {}\n",
                      priced.memory.worst, human_bytes(static_cast<double>(worst.total())),
                      human_bytes(static_cast<double>(request.cluster.memory_bytes)));
  text += memory_text(worst);
  for (const std::string& note : priced.notes) text += "\nnote: " + note + "\n";
  return text;
}

Json layout_json(const PlanRequest& request, const PricedLayout& priced) {
  Json ranks = Json::array();
  for (const RankMemory& rank : priced.memory.ranks) ranks.push_back(memory_json(rank));
  return {{"model", request.model.name},
          {"cluster", request.cluster.name},
          {"software", request.software.name},
          {"parameters", priced.counts.total()},
          {"layout", layout_fields(request.layout)},
          {"flops", {{"model", priced.flops.model}, {"hardware", priced.flops.hardware}}},
          {"megatron_meter", {{"megatron", priced.meter.megatron}, {"corrected", priced.meter.corrected}}},
          {"time", time_json(priced.time)},
          {"rates", rates_json(rates_of(request, request.layout, priced.time.seconds))},
          {"memory", {{"worst", priced.memory.worst}, {"capacity", request.capacity()}, {"ranks", ranks}}},
          {"notes", priced.notes}};
}

std::string search_text(const PlanRequest& request, const SearchResult& result, size_t top) {
  const Candidate& best = result.ranked.front();
  std::string text = fmt::format(
      "{} on {} GPUs of {}, as {} would run it; batch {} sequences of {}\n{} layouts divide, {} of them fit into {} a GPU; the "
      "best {} simulated\n\n{:>3} {:>9} {:>9} {:>7} {:>9}  layout\n",
      request.model.name, request.gpus, request.cluster.name, request.software.name, best.layout.global_batch,
      request.model.sequence, result.looked_at, result.ranked.size(),
      human_bytes(static_cast<double>(result.capacity)), result.simulated, "", "s a step", "TFLOP/s", "MFU",
      "memory");
  for (size_t i = 0; i < std::min(top, result.ranked.size()); ++i) {
    const Candidate& candidate = result.ranked[i];
    const Rates rates = rates_of(request, candidate.layout, candidate.time.seconds);
    text += fmt::format("{:>3} {:>9.4g} {:>9.1f} {:>7} {:>9}  {}\n", i + 1, candidate.time.seconds,
                        rates.model / 1e12, human_percent(rates.mfu),
                        human_bytes(static_cast<double>(candidate.memory)), to_string(candidate.layout));
    if (i == 0) continue;
    const std::string why = why_slower(candidate.time, best.time);
    text += fmt::format("    +{:.1f} %{}{}\n", 100 * (candidate.time.seconds / best.time.seconds - 1),
                        why.empty() ? "" : ": ", why);
  }
  if (!result.misfits.empty()) {
    const Candidate& near = result.misfits.front();
    text +=
        fmt::format("\nof those that do not fit, the nearest lacks {}: {}\n",
                    human_bytes(static_cast<double>(near.memory - result.capacity)), to_string(near.layout));
  }
  return text;
}

Json search_json(const PlanRequest& request, const SearchResult& result, size_t top) {
  Json rows = Json::array();
  for (size_t i = 0; i < std::min(top, result.ranked.size()); ++i) {
    const Candidate& candidate = result.ranked[i];
    rows.push_back({{"layout", layout_fields(candidate.layout)},
                    {"time", time_json(candidate.time)},
                    {"rates", rates_json(rates_of(request, candidate.layout, candidate.time.seconds))},
                    {"memory_bytes", candidate.memory},
                    {"why_slower", why_slower(candidate.time, result.ranked.front().time)}});
  }
  return {
      {"model", request.model.name},   {"cluster", request.cluster.name}, {"software", request.software.name},
      {"gpus", request.gpus},          {"looked_at", result.looked_at},   {"fit", result.ranked.size()},
      {"simulated", result.simulated}, {"capacity", result.capacity},     {"ranked", rows}};
}

}  // namespace phalanx::apps
