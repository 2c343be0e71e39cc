#include "apps/phalanx/plan_flags.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "apps/phalanx/preset_flag.h"
#include "apps/phalanx/run_flags.h"
#include "phalanx/arch/presets.h"
#include "phalanx/base/error.h"
#include "phalanx/base/log.h"
#include "phalanx/config/config_toml.h"
#include "phalanx/config/config_value.h"
#include "phalanx/plan/published.h"
#include "phalanx/train/rank_layout.h"
#include "phalanx/train/recompute_config.h"

namespace phalanx::apps {
namespace {

constexpr int64_t kMaxGpus = int64_t{1} << 20;

[[noreturn]] void throw_usage(const std::string& where, const std::string& got, const std::string& needed,
                              const std::string& fix) {
  throw Error(ErrorKind::kUsage, {.where = where, .got = got, .needed = needed, .fix = fix});
}

int64_t number_of(const ParsedFlags& flags, const std::string& flag, int64_t otherwise, int64_t high) {
  if (!flags.has(flag)) return otherwise;
  const std::optional<int64_t> value = parse_integer(flags.option(flag));
  if (value && *value >= 1 && *value <= high) return *value;
  throw_usage(flag, "'" + flags.option(flag) + "'", fmt::format("a whole number from 1 to {}", high),
              "change the value");
}

std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words = {""};
  for (const char c : text) {
    if (c == ',') {
      words.emplace_back();
    } else {
      words.back() += c;
    }
  }
  return words;
}

std::vector<PlanModel> published_models() {
  return {hybrid_8b(), mamba2_8b(), transformer_8b()};
}

std::optional<PlanModel> find_published(const std::string& name) {
  for (PlanModel& model : published_models()) {
    if (model.name == name) return model;
  }
  return std::nullopt;
}

PlanRecompute policy_named(const std::string& name) {
  for (const PlanRecompute policy : {PlanRecompute::kNone, PlanRecompute::kSelective, PlanRecompute::kFull}) {
    if (recompute_name(policy) == name) return policy;
  }
  throw_usage("--recomputes", "'" + name + "'", "none, selective or full", "separate several by commas");
}

void read_model(PlanRequest& request) {
  const std::string preset = request.flags.option("--preset");
  if (const auto published = find_published(preset)) {
    request.published = true;
    request.model = *published;
    return;
  }
  RunConfig& config = request.config;
  if (config.model.hidden_size == 0 && preset.empty() && request.flags.positionals.empty()) {
    throw_usage("phalanx plan", "no model", "--preset NAME, a config file, or the sizes of one",
                "phalanx plan --help shows an example");
  }
  finalize(config.model);
  validate(config.model);
  request.model = plan_model(config.model, preset.empty() ? "the model" : preset);
}

void read_layout(PlanRequest& request) {
  ParallelConfig& p = request.config.parallel;
  const TrainConfig& t = request.config.train;
  PlanLayout& layout = request.layout;
  layout = plan_layout(request.config);
  layout.recompute_window = layout.recompute_window || request.flags.has("--recompute-window");
  const int64_t replicas = p.tensor * p.pipeline * p.context;
  if (replicas < 1)
    throw_usage("parallel", "a size below 1", "ranks of at least 1 along every axis", "change it");
  request.gpus =
      number_of(request.flags, "--gpus",
                p.world_size > 0 ? p.world_size : replicas * std::max<int64_t>(p.data, 1), kMaxGpus);
  if (p.data == 0 && request.gpus % replicas != 0 && !request.flags.has("--search")) {
    throw Error(ErrorKind::kBadInput,
                {.where = "--gpus",
                 .got = fmt::format("{}", request.gpus),
                 .needed = fmt::format("a multiple of tp x cp x pp = {}", replicas),
                 .fix = fmt::format("{} or {}", std::max<int64_t>(request.gpus / replicas, 1) * replicas,
                                    (request.gpus / replicas + 1) * replicas)});
  }
  if (p.data == 0) layout.dp = std::max<int64_t>(request.gpus / replicas, 1);
  layout.global_batch = t.global_batch_size > 0 ? t.global_batch_size : layout.micro_batch * layout.dp;
}

}  // namespace

MemoryOptions PlanRequest::memory() const {
  MemoryOptions options{.account = account, .capacity = capacity()};
  if (software.gradient_bytes < 4) options.bytes = fp16_bytes();
  return options;
}

int64_t PlanRequest::capacity() const {
  return static_cast<int64_t>(static_cast<double>(cluster.memory_bytes) * (1 - reserve));
}

const std::vector<FlagAlias>& plan_flags() {
  static const std::vector<FlagAlias> list = {
      {"--preset", "", FlagKind::kValue, "a known model (phalanx train --list-presets) or a published one",
       "NAME"},
      {"--cluster", "", FlagKind::kValue, "a known cluster or a file; h100-sxm", "NAME|FILE.toml"},
      {"--gpus", "", FlagKind::kValue, "GPUs in use; as many as the layout has ranks", "N"},
      {"--software", "", FlagKind::kValue, "the program whose habits are priced; phalanx", "NAME"},
      {"--search", "", FlagKind::kSwitch, "rank all layouts instead of pricing one"},
      {"--max-tp", "", FlagKind::kValue, "search: largest tp; the GPUs of a node", "N"},
      {"--max-pp", "", FlagKind::kValue, "search: largest pp; the layers", "N"},
      {"--max-cp", "", FlagKind::kValue, "search: largest cp; 1", "N"},
      {"--max-chunks", "", FlagKind::kValue, "search: most chunks a rank; 8", "N"},
      {"--max-micro-batch", "", FlagKind::kValue, "search: largest micro-batch; 16", "N"},
      {"--schedules", "", FlagKind::kValue, "search: kinds; 1f1b,interleaved,zb-h1,zb-v", "A,B"},
      {"--recomputes", "", FlagKind::kValue, "search: policies; none,selective,full", "A,B"},
      {"--zeros", "", FlagKind::kValue, "search: ZeRO stages; 0,1,3", "A,B"},
      {"--no-sp", "", FlagKind::kSwitch, "search: no sequence parallelism"},
      {"--top", "", FlagKind::kValue, "search: rows of the table; 10", "N"},
      {"--out", "", FlagKind::kValue, "search: write the winner as a config for phalanx train", "RUN.toml"},
      {"--svg", "", FlagKind::kValue, "draw the trade-off (--search) or the schedule", "FILE"},
      {"--stash", "", FlagKind::kValue, "activations as `phalanx` keeps them or as the `paper`s count",
       "KIND"},
      {"--recompute-window", "", FlagKind::kSwitch, "recompute only micro-batches that do not fit"},
      {"--no-scatter-gather", "", FlagKind::kSwitch, "send whole boundary tensors from every tp rank"},
      {"--keep-outputs", "", FlagKind::kSwitch, "do not free a stage's output after it is sent"},
      {"--reserve", "", FlagKind::kValue, "share of memory left to allocator and libraries; 0.05", "F"},
      {"--decode", "", FlagKind::kValue, "compare two models in generation", "MODEL,BASELINE"},
      {"--decode-dtype", "", FlagKind::kValue, "of weights, keys and values: fp32 or bf16; bf16", "DTYPE"},
      {"--papers", "", FlagKind::kSwitch, "the planner against the tables of the papers"},
      {"--list", "", FlagKind::kSwitch, "names of clusters, programs and published models"},
      {"--json", "", FlagKind::kSwitch, "print the plan as JSON"},
      {"--help", "", FlagKind::kSwitch, "print this text"},
  };
  return list;
}

ParsedFlags parse_plan_flags(const Arguments& args, ConfigTree& tree) {
  return parse_flags(args, tree, {.aliases = plan_flags()});
}

void read_request(PlanRequest& request, ConfigTree& tree) {
  const ParsedFlags& flags = request.flags;
  if (flags.positionals.size() > 1) {
    throw_usage("phalanx plan", "'" + flags.positionals[1] + "' after the config file", "one config file",
                "settings are given as --section.key=value");
  }
  const std::string preset = flags.option("--preset");
  if (!preset.empty() && !find_published(preset)) apply_preset(tree, preset);
  if (!flags.positionals.empty()) apply_toml_file(tree, flags.positionals[0], Origin::kFile);
  apply_flags(tree, flags, !flags.positionals.empty() || !preset.empty());
  for (const std::string& note : flags.notes) log_info(note);
  request.cluster = load_cluster(flags.option("--cluster", "h100-sxm"));
  request.software = find_software(flags.option("--software", "phalanx"));
  const std::string stash = flags.option("--stash", "phalanx");
  if (stash != "phalanx" && stash != "paper")
    throw_usage("--stash", "'" + stash + "'", "phalanx or paper", "choose one");
  request.account = stash == "paper" ? StashAccount::kPaper : StashAccount::kPhalanx;
  if (flags.has("--reserve")) {
    const std::optional<double> share = parse_number(flags.option("--reserve"));
    if (!share || !(*share >= 0 && *share < 1)) {
      throw_usage("--reserve", "'" + flags.option("--reserve") + "'", "a share from 0 to below 1",
                  "change the value");
    }
    request.reserve = *share;
  }
  read_model(request);
  read_layout(request);
  request.layout.scatter_gather = !flags.has("--no-scatter-gather");
  request.layout.free_outputs = !flags.has("--keep-outputs");
}

SearchSpace search_space(const PlanRequest& request) {
  const ParsedFlags& flags = request.flags;
  SearchSpace space{
      .gpus = request.gpus, .global_batch = request.config.train.global_batch_size, .base = request.layout};
  if (!flags.has("--gpus") && request.config.parallel.world_size == 0) {
    throw_usage("phalanx plan --search", "no --gpus", "--gpus N", "say how many GPUs there are");
  }
  if (space.global_batch < 1) {
    throw_usage("phalanx plan --search", "no global batch", "--global-batch-size N, in sequences", "add it");
  }
  space.max_tp = number_of(flags, "--max-tp", 0, kMaxGpus);
  space.max_pp = number_of(flags, "--max-pp", 0, kMaxGpus);
  space.max_cp = number_of(flags, "--max-cp", 1, kMaxGpus);
  space.max_chunks = number_of(flags, "--max-chunks", space.max_chunks, 1024);
  space.max_micro_batch = number_of(flags, "--max-micro-batch", space.max_micro_batch, kMaxGpus);
  if (flags.has("--schedules")) space.schedules = words_of(flags.option("--schedules"));
  if (flags.has("--recomputes")) {
    space.policies.clear();
    for (const std::string& word : words_of(flags.option("--recomputes")))
      space.policies.push_back(policy_named(word));
  }
  if (flags.has("--zeros")) {
    space.zero.clear();
    for (const std::string& word : words_of(flags.option("--zeros"))) {
      const std::optional<int64_t> stage = parse_integer(word);
      if (!stage || *stage < 0 || *stage > 3)
        throw_usage("--zeros", "'" + word + "'", "stages from 0 to 3", "0,1");
      space.zero.push_back(*stage);
    }
  }
  if (flags.has("--no-sp")) space.sequence_parallel = {false};
  return space;
}

PlanModel named_model(const std::string& name) {
  if (const auto published = find_published(name)) return *published;
  if (const std::optional<ModelConfig> config = find_model(name)) {
    const std::filesystem::path path(name);
    return plan_model(*config, (path.has_filename() ? path : path.parent_path()).stem().string());
  }
  std::vector<std::string> names = preset_names();
  for (const PlanModel& model : published_models()) names.push_back(model.name);
  const std::string near = nearest_name(name, names);
  throw_usage("phalanx plan", "the model '" + name + "'",
              "a preset, a published model (phalanx plan --list), a config file (.toml) or a run folder",
              near.empty() ? "phalanx plan --list" : "did you mean " + near + "?");
}

}  // namespace phalanx::apps
