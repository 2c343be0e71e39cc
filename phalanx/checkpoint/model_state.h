// File: phalanx/checkpoint/model_state.h
//
// Purpose: which tensors of a model and its optimizer a checkpoint holds, under which names.
//   model.NAME                 weights in the compute dtype
//   optimizer.master.NAME      weights in the accumulator's dtype, when they differ from the above
//   optimizer.exp_avg.NAME     first moment        optimizer.exp_avg_sq.NAME   second moment
// Contract: NAME is the logical name; shapes are logical, padding is never stored. The same list serves saving and
//   loading. Loading weights only: a checkpoint whose shapes differ is an error naming the first tensor.
#pragma once

#include <vector>

#include "phalanx/checkpoint/checkpoint.h"
#include "phalanx/model/model.h"
#include "phalanx/optim/optimizer.h"

namespace phalanx {

std::vector<TensorBox> weight_boxes(Model& model);
std::vector<TensorBox> optimizer_boxes(const Optimizer& optimizer);

void load_weights(CheckpointReader& reader, Model& model);
void load_optimizer(CheckpointReader& reader, Optimizer& optimizer);

}  // namespace phalanx
