// File: phalanx/plan/search.h
//
// Purpose: of all layouts of a model on so many GPUs, which are fastest, which do not fit, and why the others lose.
// Contract: every combination of the space is looked at: tp x sp x pp x chunks x schedule x cp x dp x micro-batch x
//   recompute x ZeRO. What does not divide is passed over; what does not fit is counted, and the nearest misses kept; the
//   rest is ranked by estimate_step_time, and the best `simulate_best` again by the schedule itself, time and memory. A candidate's
//   time says which of the two it is; simulated ones stand first. Deterministic.
// Errors: Error(kBadInput) for a space that holds no layout, and for one where none fits: it says what the smallest need
//   is, by how much it is over, and how many GPUs would do.
// Units: bytes, seconds.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "phalanx/plan/memory.h"
#include "phalanx/plan/time_model.h"

namespace phalanx {

struct SearchSpace {
  int64_t gpus = 0;
  int64_t global_batch = 0;
  int64_t max_tp = 0;  // 0: the GPUs of a node
  int64_t max_pp = 0;  // 0: as many as there are layers
  int64_t max_cp = 1;
  int64_t max_chunks = 8;
  int64_t max_micro_batch = 16;
  std::vector<std::string> schedules = {"1f1b", "interleaved", "zb-h1", "zb-v"};
  std::vector<PlanRecompute> policies = {PlanRecompute::kNone, PlanRecompute::kSelective,
                                         PlanRecompute::kFull};
  std::vector<int64_t> zero = {0, 1, 3};
  std::vector<bool> sequence_parallel = {false, true};
  PlanLayout base;  // what is not searched: order, checkpoints, scatter/gather
};

struct SearchOptions {
  StashAccount account = StashAccount::kPhalanx;
  ByteSizes bytes;
  double reserve = 0.05;  // share of a GPU's memory left to the allocator and the libraries
  size_t simulate_best = 64;
};

struct Candidate {
  PlanLayout layout;
  StepTime time;
  int64_t memory = 0;
};

struct SearchResult {
  std::vector<Candidate> ranked;   // fit, fastest first
  std::vector<Candidate> misfits;  // the smallest needs, at most kMaxMisfits
  size_t looked_at = 0;            // legal layouts
  size_t simulated = 0;
  int64_t capacity = 0;  // memory that a rank may use
};
inline constexpr size_t kMaxMisfits = 8;

std::vector<PlanLayout> search_layouts(const PlanModel& model, const Cluster& cluster,
                                       const SearchSpace& space);

SearchResult search(const PlanModel& model, const Cluster& cluster, const Software& software,
                    const SearchSpace& space, const SearchOptions& options = {});

// "bubble +4.1 %, messages +1.2 %": what costs `loser` most over `winner`, in percent of the winner's step.
std::string why_slower(const StepTime& loser, const StepTime& winner);

// Parts of a step that add up to its seconds, in the order of a report.
struct TimePart {
  std::string name;
  double seconds = 0;
};
std::vector<TimePart> time_parts(const StepTime& time);

// For a layout that does not fit: the one that does and differs in the fewest settings, of these the fastest.
std::optional<Candidate> nearest_fit(const PlanLayout& wanted, const SearchResult& result);
int settings_apart(const PlanLayout& a, const PlanLayout& b);

}  // namespace phalanx
