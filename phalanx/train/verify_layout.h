// File: phalanx/train/verify_layout.h
//
// Purpose: the proof that a layout is the same run: a few steps under it and on one rank, from the same weights and data,
//   compared step by step and weight by weight. `phalanx verify-layout` and the layout grid are built on it.
// Contract: nothing is written. Weights are logical tensors in fp64, put together from the boxes of all ranks, so that any
//   two layouts compare. Bars (DESIGN 7.2): loss and gradient norm relative, weights absolute; weights are compared in
//   fp64 runs only, because AdamW turns rounding into steps where a gradient is zero.
// Errors: those of the layout rules and of training.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "phalanx/engine/train_step.h"
#include "phalanx/train/run_config.h"

namespace phalanx {

// The micro-batches of one data rank in a step, which counts from 1.
using StepData = std::function<std::vector<HostBatch>(int64_t step, int64_t data_rank, int64_t data_size)>;

struct LayoutRun {
  std::vector<double> losses;
  std::vector<double> norms;
  std::map<std::string, Tensor> weights;
  std::vector<StepOutcome> last;  // of the last step, by rank
};

// As run_train_step.
using StepFunction =
    std::function<StepOutcome(Model& model, Optimizer& optimizer, const std::vector<HostBatch>& batches,
                              const StepContext& context, const StepLayout& layout)>;

// What a test changes on purpose. Called on every rank.
struct LayoutHooks {
  std::function<void(int rank, Model& model)> built;  // before the optimizer takes the parameters
  std::function<void(int rank, std::vector<HostBatch>& batches)> batches;
  // What stands between a rank and a group of it.
  std::function<std::unique_ptr<comm::Group>(int rank, std::unique_ptr<comm::Group> group)> group;
  StepFunction step;  // instead of run_train_step
  bool scatter_gather = true;
  bool record = false;  // timeline, and the items of the stash
};

// `config` is resolved; parallel says the layout.
LayoutRun run_layout(const RunConfig& config, const StepData& data, int64_t steps,
                     const LayoutHooks& hooks = {});

// The same run on one rank: without tensor, pipeline and data ranks, the same global batch.
RunConfig on_one_rank(const RunConfig& config);

struct LayoutBars {
  double loss = 1e-10;
  double norm = 1e-10;
  double weights = 1e-10;  // 0: not compared
};
LayoutBars layout_bars(DtypeKind dtype);

// "" or what differs first: step and number, or the name of the tensor that is furthest off.
std::string first_difference(const LayoutRun& got, const LayoutRun& want, const LayoutBars& bars);

}  // namespace phalanx
