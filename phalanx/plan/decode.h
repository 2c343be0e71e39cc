// File: phalanx/plan/decode.h
//
// Purpose: memory and speed of generation, one token at a time: what a hybrid gains over a Transformer, and from
//   which context on.
// Equations: a sequence holds a constant state, S = n_M (H P N b_s + (d + 2 G N) K b_c), for
//   Mamba-1 n_m (d N b_s + d K b_c), and per token of its context
//   kv = n_* 2 g d_h b_kv. A step of `batch` sequences at context L reads the weights once (of an untied embedding
//   only a row), reads kv L and reads and writes S of each sequence:
//     seconds = max( ((params - V h) b_w + batch (L kv + 2 S)) / memory bandwidth,  2 params batch / peak )
//   largest batch = (memory - params b_w) / (L kv + S).
// Contract: pure, one accelerator. The rates are the cluster's peaks times memory_efficiency and matmul_efficiency.
//   Whether a Transformer has 8 key/value groups or as many as heads decides the comparison: at long contexts the
//   speedup tends to the ratio of kv, 32 for a 32-layer Transformer with 32 groups against 4 attention layers with 8,
//   and 8 when both have 8. The published "up to 8x" is the latter.
// Units: bytes, tokens, seconds.
// Source: Waleffe et al. 2024 (arXiv 2406.07887) for the models; the equations are a roofline of reads and writes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "phalanx/plan/cluster.h"
#include "phalanx/plan/plan_model.h"

namespace phalanx {

struct DecodeOptions {  // bytes of one element
  double weight_bytes = 2;
  double kv_bytes = 2;
  double state_bytes = 4;
  double conv_bytes = 2;
};

double state_bytes(const PlanModel& model, const DecodeOptions& options = {});         // a sequence
double kv_bytes_per_token(const PlanModel& model, const DecodeOptions& options = {});  // a sequence

double decode_seconds(const PlanModel& model, const Cluster& cluster, int64_t batch, int64_t context,
                      const DecodeOptions& options = {});

// Sequences that fit beside the weights; 0 when the weights do not fit.
int64_t largest_batch(const PlanModel& model, const Cluster& cluster, int64_t context,
                      const DecodeOptions& options = {});

// Step times of both, how much faster `model` is than `baseline`, and both largest batches.
std::string decode_table_text(const PlanModel& model, const PlanModel& baseline, const Cluster& cluster,
                              const std::vector<int64_t>& batches, const std::vector<int64_t>& contexts,
                              const DecodeOptions& options = {});

}  // namespace phalanx
