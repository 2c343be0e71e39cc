// File: phalanx/pipeline/generate.h
//
// Purpose: the schedules that Phalanx knows by name, one small file each under generate/.
// Contract: any pp, chunks, micro_batches of at least 1 that the kind allows, m < p included; what it does not allow is
//   Error(kBadInput) naming the rule. Every result passes verify. In a chunk F, B, W (BW) each take the
//   micro-batches in order, so that the sums of weight gradients do not depend on the kind.
//   `make_schedule` also takes a path that ends in .json: that schedule must have the same pp, chunks, micro_batches.
// Example: Schedule s = make_schedule({.kind = "interleaved", .pp = 4, .chunks = 2, .micro_batches = 8});
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "phalanx/pipeline/schedule.h"

namespace phalanx {

struct ScheduleRequest {
  std::string kind = "1f1b";  // a name, or a file
  int pp = 1;
  int chunks = 1;
  int micro_batches = 1;
  bool forward_only = false;
};

struct ScheduleKind {
  std::string_view name;
  std::string_view summary;  // one line for --help
  int min_chunks = 1;
  int max_chunks = 1;  // 0: any
  bool splits_backward = false;
  Schedule (*generate)(int pp, int chunks, int micro_batches) = nullptr;
};

std::span<const ScheduleKind> schedule_kinds();

Schedule make_schedule(const ScheduleRequest& request);

// generate/*.cc. Arguments are checked by make_schedule.
Schedule generate_gpipe(int pp, int chunks, int micro_batches);  // Huang et al. 2019; chunks: breadth first
Schedule generate_1f1b(int pp, int chunks, int micro_batches);   // Narayanan et al. 2021, figure 4 top
Schedule generate_interleaved(int pp, int chunks, int micro_batches);  // the same, figure 4 bottom
Schedule generate_zb_h1(int pp, int chunks, int micro_batches);        // Qi et al. 2023, figure 3
Schedule generate_zb_v(int pp, int chunks, int micro_batches);         // Qi et al. 2024, figure of ZB-V
Schedule generate_v_half(int pp, int chunks, int micro_batches);  // Qi et al. 2024: half the stash of 1F1B

// Micro-batches that interleaved 1F1B sends through a chunk before it turns to the next: the smallest N >= p with
// m mod N = 0 or m mod N >= p; m itself when m < p.
int interleaved_group_size(int pp, int micro_batches);

}  // namespace phalanx
