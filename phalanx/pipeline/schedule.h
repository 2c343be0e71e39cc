// File: phalanx/pipeline/schedule.h
//
// Purpose: a pipeline schedule as a value: for every rank the list of actions it takes, and which stage each of its
//   chunks is. Generators make it, verify proves it, simulate times it, render draws it, the executor runs it.
// Contract: plain data, comparable, printable. Ranks act in list order. A stage is a place in the model, 0 first; the
//   stages are 0 .. pp x chunks - 1 and placement[rank][chunk] says who holds which. A message goes from the holder of
//   a stage to the holder of the next (forward) or previous one (backward); where one rank holds both there is none.
//   Sends are rendezvous in the worst case: a legal schedule must not need buffering.
//     F  forward                     B  gradient of the input     W  gradient of the weights (after its B)
//     BW both at once                send_f, recv_f activations   send_b, recv_b their gradients
//   A forward-only schedule (evaluation, scoring, generation) has F and its messages alone.
//   Later kinds of action (parameter gathers, offload) become further values of Op; every switch names them all.
// Units: `peak_stash` counts (micro-batch, chunk) pairs whose F ran and whose W (or BW) has not, the largest number
//   that a rank holds at once; 0 in a forward-only schedule.
// Source: Narayanan et al. 2021, section 2.2; Qi et al. 2023 for the split of B and W.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace phalanx {

enum class Op : uint8_t {
  kForward,
  kBackwardInput,
  kBackwardWeight,
  kBackward,
  kSendForward,
  kRecvForward,
  kSendBackward,
  kRecvBackward,
};

struct Action {
  Op op = Op::kForward;
  int micro_batch = 0;
  int chunk = 0;
  int peer = -1;  // the other rank of a message, else -1

  bool operator==(const Action&) const = default;
};

using ActionList = std::vector<Action>;
using Placement = std::vector<std::vector<int>>;  // [rank][chunk] -> stage

struct Schedule {
  std::string kind;
  int pp = 1;
  int chunks = 1;
  int micro_batches = 1;
  bool forward_only = false;
  Placement placement;
  std::vector<ActionList> ranks;
  std::vector<int> peak_stash;

  int num_stages() const { return pp * chunks; }
  bool operator==(const Schedule&) const = default;
};

struct Holder {
  int rank = 0;
  int chunk = 0;
};
// The inverse of a placement, by stage. A placement that is no bijection is a bug here; verify reports it to users.
std::vector<Holder> holders(const Placement& placement);

bool is_compute(Op op);   // F, B, W, BW
bool is_backward(Op op);  // B, W, BW and their messages
bool is_send(Op op);
std::string_view op_name(Op op);  // the JSON word: "F", "BW", "send_f"
std::optional<Op> op_from_name(std::string_view name);
std::string to_string(const Action& action);  // "F mb 3 chunk 1", "send_f mb 3 chunk 1 to rank 2"

}  // namespace phalanx
