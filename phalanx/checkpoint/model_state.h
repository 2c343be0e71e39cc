// File: phalanx/checkpoint/model_state.h
//
// Purpose: which tensors of a model and its optimizer a checkpoint holds, under which names; and where its metadata
//   says what model that is.
//   model.NAME                 weights in the compute dtype
//   optimizer.master.NAME      weights in the accumulator's dtype, when they differ from the above
//   optimizer.exp_avg.NAME     first moment        optimizer.exp_avg_sq.NAME   second moment
//   metadata.config.model      the model section, field by field
// Contract: NAME is the logical name; shapes are logical, padding is never stored. *_boxes list all that this rank holds,
//   which is what it loads, whatever layout wrote it; owned_* only what a checkpoint takes from this rank: over all ranks
//   each element once (weights and unsharded state from data rank 0 and the first replica, ZeRO-1 shards from the rank
//   that updates them). assemble_boxes makes whole tensors of the owned boxes of all ranks.
//   With several ranks load_optimizer is met by all of them. Loading weights only: a checkpoint whose shapes differ is
//   an error naming the first tensor.
#pragma once

#include <string>
#include <vector>

#include "phalanx/checkpoint/checkpoint.h"
#include "phalanx/model/model.h"
#include "phalanx/optim/optimizer.h"

namespace phalanx {

inline constexpr const char* kWeightPrefix = "model.";
inline constexpr const char* kMasterPrefix = "optimizer.master.";

std::vector<TensorBox> weight_boxes(const std::vector<Parameter*>& parameters);
std::vector<TensorBox> weight_boxes(Model& model);
std::vector<TensorBox> optimizer_boxes(const Optimizer& optimizer);

// Whether this rank writes the weights of a segment.
bool owns_weights(const Segment& segment, const OptimParallel& parallel);
std::vector<TensorBox> owned_weight_boxes(const std::vector<Parameter*>& parameters,
                                          const OptimParallel& parallel);
std::vector<TensorBox> owned_optimizer_boxes(const Optimizer& optimizer);

// Tensors in the order of their first box. A gap, an overlap or boxes of different dtypes is a bug and aborts.
std::vector<TensorBox> assemble_boxes(const std::vector<TensorBox>& boxes);

void load_weights(CheckpointReader& reader, const std::vector<Parameter*>& parameters);
void load_weights(CheckpointReader& reader, Model& model);
void load_optimizer(CheckpointReader& reader, Optimizer& optimizer);

// {"model": {field: value}}, as training writes it; and back, finalized and valid.
Json model_section(const ModelConfig& config);
ModelConfig stored_model_config(const CheckpointReader& reader);

// The dtype that holds every weight of the checkpoint: the stored one, since a run stores all alike.
at::ScalarType stored_weight_dtype(const CheckpointReader& reader);

}  // namespace phalanx
