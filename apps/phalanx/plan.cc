#include <fmt/format.h>

#include <algorithm>

#include "apps/phalanx/plan_flags.h"
#include "apps/phalanx/plan_report.h"
#include "apps/phalanx/verbs.h"
#include "phalanx/arch/presets.h"
#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/base/log.h"
#include "phalanx/config/config_toml.h"
#include "phalanx/config/config_value.h"
#include "phalanx/pipeline/render.h"
#include "phalanx/plan/decode.h"
#include "phalanx/plan/paper_checks.h"
#include "phalanx/plan/published.h"
#include "phalanx/plan/search_svg.h"
#include "phalanx/plan/step_comm.h"
#include "phalanx/telemetry/human.h"

namespace phalanx::apps {
namespace {

std::string help() {
  return "usage: phalanx plan [CONFIG.toml] [--preset NAME] [--cluster NAME] [--section.key=value] [Megatron flags]\n"
         "       phalanx plan --search --gpus N --global-batch-size B [--preset NAME] [--cluster NAME] [options]\n"
         "       phalanx plan --decode MODEL,BASELINE [--cluster NAME]\n"
         "       phalanx plan --papers\n"
         "Prices a layout before it is run: parameters, FLOPs, memory by kind, seconds by cause on the simulated pipeline\n"
         "schedule. Or ranks all layouts.\n\n" +
         alias_help(plan_flags()) +
         "\nexample: phalanx plan --preset llama-2-7b --cluster h100-sxm --gpus 64 --global-batch-size 256 --search\n"
         "         phalanx plan --preset gpt3-175b --cluster a100-selene --parallel.tensor=8 --parallel.pipeline=8 "
         "--global-batch-size 64\n";
}

std::string names_text() {
  std::string text = "clusters\n";
  for (const std::string& name : cluster_names()) text += "  " + name + "\n";
  text += "programs\n";
  for (const Software& software : known_software())
    text += fmt::format("  {:<16} {}\n", software.name, software.source);
  text += "published models\n";
  for (const PlanModel& model : {hybrid_8b(), mamba2_8b(), transformer_8b()})
    text += "  " + model.name + "\n";
  return text + "presets: phalanx train --list-presets\n";
}

DecodeOptions decode_options(const ParsedFlags& flags) {
  const std::string dtype = flags.option("--decode-dtype", "bf16");
  if (dtype == "bf16") return {};
  if (dtype == "fp32") return {.weight_bytes = 4, .kv_bytes = 4, .state_bytes = 4, .conv_bytes = 4};
  throw Error(ErrorKind::kUsage, {.where = "--decode-dtype",
                                  .got = "'" + dtype + "'",
                                  .needed = "fp32 or bf16",
                                  .fix = "use one of these"});
}

int decode(const ParsedFlags& flags) {
  const std::string both = flags.option("--decode");
  const size_t comma = both.find(',');
  if (comma == std::string::npos) {
    throw Error(ErrorKind::kUsage, {.where = "--decode",
                                    .got = "'" + both + "'",
                                    .needed = "two models: MODEL,BASELINE",
                                    .fix = "phalanx plan --decode mamba2-hybrid-8b,transformer-8b"});
  }
  const PlanModel model = named_model(both.substr(0, comma));
  const PlanModel baseline = named_model(both.substr(comma + 1));
  const Cluster cluster = load_cluster(flags.option("--cluster", "h100-sxm"));
  const DecodeOptions options = decode_options(flags);
  const std::vector<int64_t> batches = {1, 8, 32, 128}, contexts = {4096, 32768, 131072, 524288};
  if (!flags.has("--json")) {
    print_line(decode_table_text(model, baseline, cluster, batches, contexts, options));
    return 0;
  }
  Json rows = Json::array();
  for (const int64_t batch : batches) {
    for (const int64_t context : contexts) {
      rows.push_back({{"batch", batch},
                      {"context", context},
                      {"model_s", decode_seconds(model, cluster, batch, context, options)},
                      {"baseline_s", decode_seconds(baseline, cluster, batch, context, options)}});
    }
  }
  print_line(Json{{"model", model.name}, {"baseline", baseline.name}, {"rows", rows}}.dump());
  return 0;
}

// A config that phalanx train takes, with the layout written in.
void write_run(PlanRequest& request, ConfigTree& tree, const PlanLayout& layout) {
  if (request.published) {
    throw Error(ErrorKind::kBadInput, {.where = "--out",
                                       .got = "the published model " + request.model.name,
                                       .needed = "a model that can be trained",
                                       .fix = "leave --out out"});
  }
  RunConfig& config = request.config;
  ParallelConfig& p = config.parallel;
  p.tensor = layout.tp;
  p.sequence_parallel = layout.sequence_parallel;
  p.pipeline = layout.pp;
  p.chunks = layout.chunks;
  p.context = layout.cp;
  p.data = layout.dp;
  p.world_size = 0;
  p.schedule = layout.schedule;
  p.zero_stage = layout.zero;
  config.train.micro_batch_size = layout.micro_batch;
  config.train.global_batch_size = layout.global_batch;
  config.train.dtype = DtypeKind::kBf16;
  config.train.recompute = layout.recompute == PlanRecompute::kNone        ? RecomputeMode::kNone
                           : layout.recompute == PlanRecompute::kSelective ? RecomputeMode::kSelective
                                                                           : RecomputeMode::kFull;
  const std::string head = fmt::format("# {} on {} GPUs of {}: {}\n", request.model.name, layout.world(),
                                       request.cluster.name, to_string(layout));
  write_file_atomic(request.flags.option("--out"), head + to_toml(tree, ConfigScope::kChanged));
}

int search_layouts(PlanRequest& request, ConfigTree& tree) {
  const ParsedFlags& flags = request.flags;
  size_t top = 10;
  if (flags.has("--top")) {
    const std::optional<int64_t> value = parse_integer(flags.option("--top"));
    if (!value || *value < 1) {
      throw Error(
          ErrorKind::kUsage,
          {.where = "--top", .got = "'" + flags.option("--top") + "'", .needed = "a number of rows from 1"});
    }
    top = static_cast<size_t>(*value);
  }
  const SearchResult result =
      search(request.model, request.cluster, request.software, search_space(request),
             {.account = request.account, .bytes = request.memory().bytes, .reserve = request.reserve});
  const PlanLayout& best = result.ranked.front().layout;
  if (flags.has("--out")) write_run(request, tree, best);
  if (flags.has("--svg")) {
    write_file_atomic(flags.option("--svg"), search_svg(result, request.cluster,
                                                        fmt::format("{} on {} GPUs of {}", request.model.name,
                                                                    request.gpus, request.cluster.name),
                                                        best.global_batch * request.model.sequence));
  }
  print_line(flags.has("--json") ? search_json(request, result, top).dump(2)
                                 : search_text(request, result, top));
  return 0;
}

// Too large: what it lacks, what takes most, and the nearest layout that fits.
void require_fit(const PlanRequest& request, const PricedLayout& priced) {
  const int64_t capacity = request.capacity();
  if (priced.memory.peak() <= capacity) return;
  const RankMemory& worst = priced.memory.ranks[priced.memory.worst];
  std::vector<ByteItem> items = memory_items(worst);
  std::sort(items.begin(), items.end(),
            [](const ByteItem& a, const ByteItem& b) { return a.bytes > b.bytes; });
  std::string largest;
  for (size_t i = 0; i < std::min<size_t>(3, items.size()); ++i) {
    largest += fmt::format("{}{} {}", i == 0 ? "" : ", ", items[i].label,
                           human_bytes(static_cast<double>(items[i].bytes)));
  }
  SearchSpace space{.gpus = request.layout.world(),
                    .global_batch = request.layout.global_batch,
                    .max_cp = std::max<int64_t>(request.layout.cp, 1),
                    .zero = {0, 1, 2, 3},
                    .base = request.layout};
  std::string fix;
  try {
    const SearchResult result = search(request.model, request.cluster, request.software, space,
                                       {.account = request.account,
                                        .bytes = request.memory().bytes,
                                        .reserve = request.reserve,
                                        .simulate_best = 0});
    const std::optional<Candidate> near = nearest_fit(request.layout, result);
    fix = fmt::format("the nearest layout that fits: {} ({} a GPU, about {:.4g} s a step)",
                      to_string(near->layout), human_bytes(static_cast<double>(near->memory)),
                      near->time.seconds);
  } catch (const Error& none) {
    fix = std::string("none fits on so many GPUs. ") + none.what();
  }
  throw Error(
      ErrorKind::kBadInput,
      {.where = "layout " + to_string(request.layout),
       .got = fmt::format("{} for rank {} of the pipeline ({})",
                          human_bytes(static_cast<double>(worst.total())), priced.memory.worst, largest),
       .needed = fmt::format(
           "at most {} of the {} of a GPU of {}: it lacks {}", human_bytes(static_cast<double>(capacity)),
           human_bytes(static_cast<double>(request.cluster.memory_bytes)), request.cluster.name,
           human_bytes(static_cast<double>(worst.total() - capacity))),
       .fix = fix});
}

void draw_schedule(const PlanRequest& request, const PricedLayout& priced) {
  const std::vector<StageTime> stages =
      stage_times(request.model, request.layout, request.cluster, request.software);
  const StepComm comm = step_comm(request.model, request.layout, request.cluster, request.software, 0);
  SimulateOptions options = simulate_options(stages, priced.schedule.placement, comm.boundary,
                                             request.software, splits_backward(priced.schedule));
  options.record = true;
  write_file_atomic(
      request.flags.option("--svg"),
      render_svg(priced.schedule, simulate(priced.schedule, options), to_string(request.layout)));
}

}  // namespace

int run_plan(const Arguments& args) {
  PlanRequest request;
  ConfigTree tree = make_config_tree(request.config);
  request.flags = parse_plan_flags(args, tree);
  const ParsedFlags& flags = request.flags;
  if (flags.has("--help")) {
    print_line(help());
    return 0;
  }
  if (flags.has("--list")) {
    print_line(names_text());
    return 0;
  }
  if (flags.has("--papers")) {
    print_line(to_text(paper_checks(load_cluster(flags.option("--cluster", "a100-selene")))));
    return 0;
  }
  if (flags.has("--decode")) return decode(flags);
  read_request(request, tree);
  if (flags.has("--search")) return search_layouts(request, tree);
  const PricedLayout priced = price_layout(request);
  require_fit(request, priced);
  if (flags.has("--svg")) draw_schedule(request, priced);
  print_line(flags.has("--json") ? layout_json(request, priced).dump(2) : layout_text(request, priced));
  return 0;
}

}  // namespace phalanx::apps
