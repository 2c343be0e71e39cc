// File: phalanx/telemetry/flops.h
//
// Purpose: how many floating-point operations a training step of a GPT is worth, and the rates made from
// that: TFLOP/s
//   per device and MFU. Model FLOPs: recomputation is never counted.
// Equations: T tokens, Q sum of squared document lengths (batch * sequence^2 when not packed), A attention
// layers, M MLP layers, h hidden, f MLP width, V padded vocabulary, q = heads * head_dim,
//   k = kv_groups * head_dim, c = 3 with a gated MLP, else 2, g = q with an attention output gate, else 0:
//     6 T M h c f + 6 T A (h (q + 2 k + g) + q h) + 6 Q q A + 6 T h V
//   6 = 2 (multiply, add) x 3 (forward, input gradient, weight gradient); causal attention counts half its
//   square. The papers' short form, which counts the whole square and f = 4 h: 72 b s L h^2 (1 + s / 6h + V /
//   12hL).
// Contract: either number of layers may be 0, and then the sizes of that kind are not looked at.
// Source: Megatron-LM's throughput formula, where A = M; Korthikanti et al. 2022, appendix A, for the short form.
// Units: FLOP, FLOP/s, seconds. mfu is a fraction. A duration of 0 or less gives a rate of 0.
// Example: const double f = gpt_flops({.attention_layers = 12, .mlp_layers = 12, ...}, batch, sequence); mfu(f, seconds, world,
// *peak_flops(name));
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace phalanx {

struct GptFlopsShape {
  int64_t attention_layers = 0;
  int64_t mlp_layers = 0;
  int64_t hidden = 0;
  int64_t mlp_hidden = 0;
  int64_t vocab = 0;  // padded
  int64_t heads = 0;
  int64_t kv_groups = 0;  // = heads without grouped queries
  int64_t head_dim = 0;
  bool gated_mlp = false;  // SwiGLU, GEGLU
  bool output_gate = false;
};

// Packed documents: the sum of their lengths and of the squares of their lengths.
double gpt_flops_packed(const GptFlopsShape& shape, double tokens, double squared_lengths);
double gpt_flops(const GptFlopsShape& shape, int64_t batch, int64_t sequence);

double paper_gpt_flops(int64_t batch, int64_t sequence, int64_t layers, int64_t hidden, int64_t vocab);

double tflops_per_device(double flops, double seconds, int64_t devices);
double mfu(double flops, double seconds, int64_t devices, double peak_flops_per_device);

// Dense BF16 peak by the name that the CUDA driver gives a device; nothing for a device not in the table. For
// a CPU, measure the matrix-product rate and use that.
std::optional<double> peak_flops(std::string_view device_name);

}  // namespace phalanx
