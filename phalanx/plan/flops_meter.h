// File: phalanx/plan/flops_meter.h
//
// Purpose: the FLOPs that Megatron-LM prints for a training step, to the last digit, and beside them what it should
//   print. Its TFLOP/s are quoted in papers and tables; to compare with those one needs its number, defects included.
// Equations: T tokens, Q sum of squared lengths; the terms of plan_flops.h, causal, times three. Besides:
//     experts           6 T h (k c f + c f_shared), k of them a token
//                       with a latent width z: 6 T (k c f z + c f_shared h + 2 z h)
//     latent attention  6 T (queries + r_kv (h + A (d_qk + d_v) + 1) + h d_rope + A d_v h)
//                       + 3 Q A (d_qk + d_rope + d_v)
//                       queries: h A (d_qk + d_rope), or compressed r_q (h + A (d_qk + d_rope) + 1)
//   Defects that `megatron` reproduces and `corrected` does not have: a Mamba-2 layer is as wide as 2 h whatever its
//   heads are, and its convolution costs nothing; in a hybrid, latent attention and an attention output gate cost
//   nothing; routers cost nothing.
// Contract: multi-token prediction is not modelled. A model is a hybrid for Megatron when it was given as a pattern.
// Units: FLOP of a step of all ranks. Recomputation is never counted.
// Source: Megatron-LM, num_floating_point_operations.
// Example: const MeterReading r = read_meter(meter_model(hybrid_8b()), token_batch(1024, 4096));
#pragma once

#include <cstdint>

#include "phalanx/plan/plan_flops.h"
#include "phalanx/plan/plan_model.h"

namespace phalanx {

struct ExpertSizes {
  int64_t experts = 0;
  int64_t top_k = 0;
  int64_t ffn = 0;
  int64_t shared_ffn = 0;
  int64_t latent = 0;  // width experts work in; 0: hidden
};

struct LatentAttentionSizes {
  int64_t query_rank = 0;  // 0: queries are not compressed
  int64_t key_rank = 0;
  int64_t head_dim = 0;
  int64_t rope_dim = 0;
  int64_t value_dim = 0;
};

struct MeterModel {
  bool hybrid = false;
  int64_t attention_layers = 0;
  int64_t mlp_layers = 0;
  int64_t expert_layers = 0;
  int64_t latent_layers = 0;  // of attention
  int64_t mamba_layers = 0;
  int64_t hidden = 0;
  int64_t heads = 0;
  int64_t kv_groups = 0;
  int64_t head_dim = 0;
  int64_t ffn = 0;
  int64_t vocab = 0;
  bool gated_mlp = false;
  bool output_gate = false;
  ExpertSizes experts;
  LatentAttentionSizes latent;
  MambaSizes mamba;
};

MeterModel meter_model(const PlanModel& model);

struct MeterReading {
  double megatron = 0;
  double corrected = 0;
};
MeterReading read_meter(const MeterModel& model, const TokenBatch& batch);

}  // namespace phalanx
