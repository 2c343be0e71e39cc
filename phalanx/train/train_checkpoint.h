// File: phalanx/train/train_checkpoint.h
//
// Purpose: a checkpoint of a run: tensors (checkpoint/model_state.h) plus the few numbers and the config that make the
//   next step the same as if nothing had stopped.
// Contract: metadata = {"kind": "train", "step", "consumed_samples", "updates", "outliers", "loss_scaler", "config"}. Loading compares
//   what decides the function (the model section) and refuses another model by naming the fields that differ.
#pragma once

#include <optional>
#include <string>

#include "phalanx/checkpoint/checkpoint.h"
#include "phalanx/model/model.h"
#include "phalanx/optim/optimizer.h"
#include "phalanx/train/run_config.h"

namespace phalanx {

struct TrainState {
  int64_t step = 0;
  int64_t consumed_samples = 0;
  int64_t updates = 0;
  Json outliers;
  Json loss_scaler;  // null in checkpoints that have none
};

// What this rank adds to a checkpoint.
std::vector<TensorBox> training_boxes(const RunConfig& config, Model& model, const Optimizer& optimizer);

// `boxes` of all ranks, assembled.
void save_training(const RunConfig& config, const std::vector<TensorBox>& boxes, const TrainState& state);

// Weights always; the optimizer and the state only `with_state`.
TrainState load_training(const RunConfig& config, const std::string& folder, Model& model,
                         Optimizer& optimizer, bool with_state);

// `path` is a checkpoint, a folder of checkpoints or a run folder; nothing found is an Error(kBadInput).
std::string resolve_checkpoint_folder(const std::string& path, std::optional<int64_t> step);

// Before a run goes on at `step`: later checkpoints are renamed, so that they are never taken for its newest.
void set_newer_aside(const std::string& checkpoints, int64_t step);

// The matrix-product routes of the run: fixed when deterministic, else RUN_DIR/gemm.json, measured when absent.
kernels::Gemm choose_gemm(const RunConfig& config);

}  // namespace phalanx
