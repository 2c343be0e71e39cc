// File: phalanx/mesh/parallel_config.h
//
// Purpose: the config section `parallel`: how a run is split over ranks. plan_mesh checks it and fills the zeros.
// Contract: plain data by config/fields.h. Nothing here changes what is computed, only where.
// Units: numbers of ranks, except `chunks` (model pieces a rank).
#pragma once

#include <cstdint>
#include <string>

namespace phalanx {

struct ParallelConfig {
  int64_t tensor = 1;
  bool sequence_parallel = false;
  int64_t pipeline = 1;
  int64_t chunks = 1;
  int64_t context = 1;
  int64_t data = 0;
  std::string schedule = "1f1b";
  std::string order = "tp-cp-dp-pp";
  int64_t world_size = 0;
  int64_t zero_stage = 0;

  bool operator==(const ParallelConfig&) const = default;

  template <typename Visitor>
  void visit_fields(Visitor& v) {
    v.field("tensor", tensor, "tensor-parallel ranks: they share each weight matrix");
    v.field("sequence_parallel", sequence_parallel,
            "split norms and dropout over the tensor-parallel ranks too");
    v.field("pipeline", pipeline, "pipeline-parallel ranks: they share the layers");
    v.field("chunks", chunks, "model pieces a pipeline rank holds; above 1 means an interleaved schedule");
    v.field("context", context, "context-parallel ranks: they share each sequence");
    v.field("data", data, "data-parallel ranks: they share the batch; 0 means what world_size leaves");
    v.field("schedule", schedule, "pipeline schedule by name, or a schedule file (.json)");
    v.field("order", order, "axes of the rank grid, the fastest first");
    v.field("world_size", world_size, "all ranks; 0 means tensor x context x pipeline x data");
    v.field("zero_stage", zero_stage,
            "split over data-parallel ranks: 0 nothing, 1 optimizer, 2 gradients, 3 weights");
  }
};

}  // namespace phalanx
