// File: phalanx/plan/software.h
//
// Purpose: what a training program fuses and what it overlaps, as far as its step time depends on it. The same cluster
//   and layout take longer under the programs of 2021 than under ours.
// Contract: plain data; the programs of the papers are named values. Nothing here is fitted but `step_overhead`, which is
//   0 everywhere except for `megatron-deepspeed-2022`, whose source says on which row it was fitted.
// Units: bytes a parameter; seconds a step.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace phalanx {

struct Software {
  std::string name;
  std::string source;
  bool fused_attention = false;   // scores stay on chip; else they are written, read and masked in memory
  bool overlap_tensor = false;    // backward: the input gradient travels beside the weight gradient's product
  bool overlap_pipeline = false;  // messages beside computation; else both ends wait for each
  bool overlap_gradients = false;  // reduced over data-parallel ranks beside the backward pass
  bool prefetch_weights = false;   // of ZeRO: gathered ahead of the layer that needs them
  bool single_rail = false;   // a ring over nodes uses one NIC a node, however many ranks of it the node has
  double gradient_bytes = 2;  // of a parameter's gradient when it is reduced
  double optimizer_bytes =
      54;  // memory traffic of a step by parameter: unscale, norm, Adam on masters, copies
  double step_overhead = 0;
};

// "phalanx", "megatron-2021" (Narayanan et al.), "megatron-2022" (Korthikanti et al.), "deepspeed-2021" (ZeRO-3 of
// Narayanan et al.), "megatron-deepspeed-2022" (MT-NLG).
std::span<const Software> known_software();
const Software& find_software(std::string_view name);  // Error(kBadInput): did you mean

}  // namespace phalanx
