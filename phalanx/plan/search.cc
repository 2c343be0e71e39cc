#include "phalanx/plan/search.h"

#include <algorithm>

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/pipeline/generate.h"
#include "phalanx/telemetry/human.h"

namespace phalanx {
namespace {

std::vector<int64_t> divisors(int64_t n, int64_t most) {
  std::vector<int64_t> list;
  for (int64_t d = 1; d <= std::min(n, most); ++d) {
    if (n % d == 0) list.push_back(d);
  }
  return list;
}

const ScheduleKind& kind_named(const std::string& name) {
  for (const ScheduleKind& kind : schedule_kinds()) {
    if (kind.name == name) return kind;
  }
  throw Error(ErrorKind::kBadInput, {.where = "search",
                                     .got = "the schedule '" + name + "'",
                                     .needed = "names of phalanx schedule --help",
                                     .fix = "leave it out"});
}

// Chunks a rank that a schedule may have; without a pipeline there is one way only.
std::vector<int64_t> chunk_counts(const ScheduleKind& kind, int64_t pp, int64_t max_chunks) {
  if (pp == 1) return kind.name == "1f1b" ? std::vector<int64_t>{1} : std::vector<int64_t>{};
  std::vector<int64_t> list;
  const int64_t least = kind.name == "interleaved" ? 2 : kind.min_chunks;  // with one chunk it is 1f1b
  const int64_t most = kind.max_chunks == 0 ? max_chunks : std::min<int64_t>(kind.max_chunks, max_chunks);
  for (int64_t v = least; v <= most; ++v) list.push_back(v);
  return list;
}

// Everything but how ranks are cut: schedules, policies, ZeRO, sequence parallelism.
void add_variants(const PlanModel& model, const SearchSpace& space, const PlanLayout& cut,
                  std::vector<PlanLayout>& out) {
  for (const std::string& name : space.schedules) {
    const ScheduleKind& kind = kind_named(name);
    for (const int64_t chunks : chunk_counts(kind, cut.pp, space.max_chunks)) {
      PlanLayout layout = cut;
      layout.schedule = name;
      layout.chunks = chunks;
      if (!layout_violations(model, layout).empty()) continue;
      for (const PlanRecompute policy : space.policies) {
        for (const int64_t zero : space.zero) {
          if (zero > 0 && cut.dp * cut.cp == 1) continue;
          for (const bool split : space.sequence_parallel) {
            if (split && cut.tp == 1) continue;
            layout.recompute = policy;
            layout.zero = zero;
            layout.sequence_parallel = split;
            if (layout_violations(model, layout).empty()) out.push_back(layout);
          }
        }
      }
    }
  }
}

[[noreturn]] void throw_none_fits(const PlanModel& model, const Cluster& cluster, const SearchSpace& space,
                                  const SearchResult& result) {
  const Candidate& least = result.misfits.front();
  const double times = static_cast<double>(least.memory) / static_cast<double>(result.capacity);
  throw Error(
      ErrorKind::kBadInput,
      {.where = fmt::format("{} on {} GPUs of {}", model.name, space.gpus, cluster.name),
       .got =
           fmt::format("no layout that fits; the smallest ({}) needs {} a GPU, {} more than the {} there are",
                       to_string(least.layout), human_bytes(least.memory),
                       human_bytes(least.memory - result.capacity), human_bytes(result.capacity)),
       .needed = fmt::format("{:.2f} times the memory", times),
       .fix = fmt::format("more GPUs (about {}), or allow more: full recompute, ZeRO, a larger tp or pp",
                          static_cast<int64_t>(static_cast<double>(space.gpus) * times) + 1)});
}

void keep_misfit(Candidate candidate, std::vector<Candidate>& misfits) {
  const auto place =
      std::upper_bound(misfits.begin(), misfits.end(), candidate,
                       [](const Candidate& a, const Candidate& b) { return a.memory < b.memory; });
  misfits.insert(place, std::move(candidate));
  if (misfits.size() > kMaxMisfits) misfits.pop_back();
}

bool faster(const Candidate& a, const Candidate& b) {
  if (a.time.simulated != b.time.simulated) return a.time.simulated;
  if (a.time.seconds != b.time.seconds) return a.time.seconds < b.time.seconds;
  return a.memory < b.memory;
}

// The schedule itself says when each stage runs and how much is in flight; the closed forms only chose whom to ask.
void simulate_best(const PlanModel& model, const Cluster& cluster, const Software& software,
                   const MemoryOptions& memory, size_t most, SearchResult& result) {
  std::vector<Candidate> kept;
  for (Candidate& candidate : result.ranked) {
    if (result.simulated < most) {
      const PlanLayout& layout = candidate.layout;
      const Schedule schedule = make_schedule({.kind = layout.schedule,
                                               .pp = static_cast<int>(layout.pp),
                                               .chunks = static_cast<int>(layout.chunks),
                                               .micro_batches = static_cast<int>(layout.micro_batches())});
      ++result.simulated;
      candidate.memory = plan_memory(model, layout, memory, &schedule).peak();
      if (candidate.memory > result.capacity) {
        keep_misfit(std::move(candidate), result.misfits);
        continue;
      }
      candidate.time = step_time(model, layout, cluster, software, schedule);
    }
    kept.push_back(std::move(candidate));
  }
  result.ranked = std::move(kept);
  std::sort(result.ranked.begin(), result.ranked.end(), faster);
}

}  // namespace

std::vector<PlanLayout> search_layouts(const PlanModel& model, const Cluster& cluster,
                                       const SearchSpace& space) {
  const auto layers = static_cast<int64_t>(model.pattern.layers.size());
  const int64_t max_tp = space.max_tp > 0 ? space.max_tp : cluster.gpus_per_node;
  const int64_t max_pp = space.max_pp > 0 ? space.max_pp : layers;
  std::vector<PlanLayout> layouts;
  for (const int64_t tp : divisors(space.gpus, max_tp)) {
    for (const int64_t cp : divisors(space.gpus / tp, space.max_cp)) {
      for (const int64_t pp : divisors(space.gpus / tp / cp, max_pp)) {
        const int64_t dp = space.gpus / tp / cp / pp;
        if (space.global_batch % dp != 0) continue;
        for (int64_t b = 1; b <= space.max_micro_batch; b *= 2) {
          if ((space.global_batch / dp) % b != 0) break;
          PlanLayout cut = space.base;
          cut.tp = tp;
          cut.cp = cp;
          cut.pp = pp;
          cut.dp = dp;
          cut.micro_batch = b;
          cut.global_batch = space.global_batch;
          add_variants(model, space, cut, layouts);
        }
      }
    }
  }
  return layouts;
}

SearchResult search(const PlanModel& model, const Cluster& cluster, const Software& software,
                    const SearchSpace& space, const SearchOptions& options) {
  SearchResult result;
  result.capacity = static_cast<int64_t>(static_cast<double>(cluster.memory_bytes) * (1 - options.reserve));
  const MemoryOptions memory{.account = options.account, .bytes = options.bytes, .capacity = result.capacity};
  const bool selective_is_none =
      software.fused_attention && model.count(LayerKind::kMamba2) == 0 &&
      std::count(space.policies.begin(), space.policies.end(), PlanRecompute::kNone) > 0;
  for (const PlanLayout& layout : search_layouts(model, cluster, space)) {
    // Fused attention keeps nothing that selective recompute could drop.
    if (selective_is_none && layout.recompute == PlanRecompute::kSelective) continue;
    ++result.looked_at;
    Candidate candidate{.layout = layout, .memory = plan_memory(model, layout, memory).peak()};
    if (candidate.memory > result.capacity) {
      keep_misfit(std::move(candidate), result.misfits);
      continue;
    }
    candidate.time = estimate_step_time(model, layout, cluster, software);
    result.ranked.push_back(std::move(candidate));
  }
  if (result.looked_at == 0) {
    throw Error(ErrorKind::kBadInput,
                {.where = fmt::format("{} on {} GPUs of {}", model.name, space.gpus, cluster.name),
                 .got = "no layout that divides",
                 .needed = fmt::format("GPUs, layers and a batch of {} that tp, pp and dp divide",
                                       space.global_batch),
                 .fix = "another number of GPUs or another batch"});
  }
  if (result.ranked.empty()) throw_none_fits(model, cluster, space, result);
  std::sort(result.ranked.begin(), result.ranked.end(), faster);
  simulate_best(model, cluster, software, memory, options.simulate_best, result);
  if (result.ranked.empty()) throw_none_fits(model, cluster, space, result);
  return result;
}

std::vector<TimePart> time_parts(const StepTime& time) {
  return {{"matrix products", time.work.product},
          {"attention and scans", time.work.core},
          {"norms, activations", time.work.pointwise},
          {"recomputation", time.recompute},
          {"tensor-parallel communication", time.work.tensor},
          {"context-parallel communication", time.work.context},
          {"gathering weights", time.weights},
          {"pipeline messages", time.messages},
          {"bubble", time.bubble},
          {"data-parallel communication", time.data},
          {"tied embeddings", time.tied},
          {"optimizer", time.optimizer},
          {"other", time.overhead}};
}

std::string why_slower(const StepTime& loser, const StepTime& winner) {
  std::vector<TimePart> parts = time_parts(loser);
  const std::vector<TimePart> base = time_parts(winner);
  for (size_t i = 0; i < parts.size(); ++i) {
    parts[i].seconds = 100 * (parts[i].seconds - base[i].seconds) / winner.seconds;
  }
  std::stable_sort(parts.begin(), parts.end(),
                   [](const TimePart& a, const TimePart& b) { return a.seconds > b.seconds; });
  std::string text;
  for (size_t i = 0; i < 2; ++i) {
    if (parts[i].seconds < 0.05) break;
    text += fmt::format("{}{} +{:.1f} %", text.empty() ? "" : ", ", parts[i].name, parts[i].seconds);
  }
  return text;
}

int settings_apart(const PlanLayout& a, const PlanLayout& b) {
  return (a.tp != b.tp) + (a.sequence_parallel != b.sequence_parallel) + (a.pp != b.pp) +
         (a.chunks != b.chunks) + (a.cp != b.cp) + (a.schedule != b.schedule) +
         (a.micro_batch != b.micro_batch) + (a.recompute != b.recompute) + (a.zero != b.zero);
}

std::optional<Candidate> nearest_fit(const PlanLayout& wanted, const SearchResult& result) {
  if (result.ranked.empty()) return std::nullopt;
  return *std::min_element(result.ranked.begin(), result.ranked.end(),
                           [&](const Candidate& a, const Candidate& b) {
                             const int apart_a = settings_apart(wanted, a.layout);
                             const int apart_b = settings_apart(wanted, b.layout);
                             return apart_a != apart_b ? apart_a < apart_b : a.time.seconds < b.time.seconds;
                           });
}

}  // namespace phalanx
