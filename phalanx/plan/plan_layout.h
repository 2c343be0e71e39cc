// File: phalanx/plan/plan_layout.h
//
// Purpose: one way to train a model: how it is split over ranks, in what order the ranks work, what is recomputed.
//   What the planner prices, ranks and writes down.
// Contract: plain data, printable. `check_layout` lists everything that does not divide in one Error(kBadInput).
//   Everything else here and in the planner takes a layout that passed it.
// Units: ranks; batches in sequences; layers are residual layers of the pattern.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "phalanx/pipeline/schedule.h"
#include "phalanx/plan/plan_model.h"

namespace phalanx {

enum class PlanRecompute { kNone, kSelective, kFull };  // Korthikanti et al. 2022, section 5

struct PlanLayout {
  int64_t tp = 1;
  bool sequence_parallel = false;
  int64_t pp = 1;
  int64_t chunks = 1;
  int64_t cp = 1;
  int64_t dp = 1;
  std::string schedule = "1f1b";
  int64_t micro_batch = 1;
  int64_t global_batch = 1;
  PlanRecompute recompute = PlanRecompute::kNone;
  int64_t layers_per_checkpoint = 1;  // full: transformer layers between two kept inputs
  int64_t block_layers = 0;           // full: only the first so many transformer layers of a stage; 0: all
  bool recompute_mlp = false;         // selective: an MLP is computed again from its input
  bool shard_checkpoints = false;     // full: keep 1/t of each input, gather it again
  bool free_outputs = true;           // appendix B: a stage's output goes once it is sent
  bool recompute_window = false;      // appendix C: recompute only micro-batches that do not fit
  int64_t window_pairs = 0;    // with the window: so many (micro-batch, chunk) pairs keep all; 0: what fits
  bool scatter_gather = true;  // Narayanan et al. 2021, section 4.1: send 1/t of a boundary tensor
  int64_t zero = 0;            // stage
  std::string order = "tp-cp-dp-pp";  // of ranks, fastest first

  int64_t world() const { return tp * pp * cp * dp; }
  int64_t micro_batches() const { return global_batch / (dp * micro_batch); }  // a pipeline
  bool operator==(const PlanLayout&) const = default;
};

std::string_view recompute_name(PlanRecompute policy);  // "none", "selective", "full"

// "tp 8 sp pp 64 dp 6, 1f1b, micro-batch 1 x 512, recompute full": what differs from the defaults.
std::string to_string(const PlanLayout& layout);

// Every rule that (model, layout) breaks, as sentences; empty: legal.
std::vector<std::string> layout_violations(const PlanModel& model, const PlanLayout& layout);
void check_layout(const PlanModel& model, const PlanLayout& layout);

// The residual layers of a stage of pp x chunks: [begin, end) in the pattern.
struct StageSlice {
  size_t begin = 0;
  size_t end = 0;

  size_t size() const { return end - begin; }
  bool operator==(const StageSlice&) const = default;
};

// Behind the layers of a stage that full recompute runs again.
size_t recomputed_end(const PlanModel& model, const PlanLayout& layout, const StageSlice& slice);

// By stage. Where the pattern has `|`, its slices; a GPT, equally many pairs each; a hybrid is cut so that the stage
// with most work (forward FLOPs at the model's sequence, the head included) has as little as can be, and within that
// the others are even. Its last slice may be empty: the head alone.
std::vector<StageSlice> stage_slices(const PlanModel& model, const PlanLayout& layout);

// Which stage each chunk of a pipeline rank is: by the schedule's name down and up the V for two V-shaped ones, else
// stage = chunk x pp + rank.
Placement layout_placement(const PlanLayout& layout);

}  // namespace phalanx
