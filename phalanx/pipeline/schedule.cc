#include "phalanx/pipeline/schedule.h"

#include <array>

#include <fmt/format.h>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

// In the order of Op.
constexpr std::array<std::string_view, 8> kNames = {"F",      "B",      "W",      "BW",
                                                    "send_f", "recv_f", "send_b", "recv_b"};

}  // namespace

std::vector<Holder> holders(const Placement& placement) {
  size_t num_stages = 0;
  for (const std::vector<int>& row : placement) num_stages += row.size();
  std::vector<Holder> by_stage(num_stages, Holder{.rank = -1, .chunk = -1});
  for (size_t rank = 0; rank < placement.size(); ++rank) {
    for (size_t chunk = 0; chunk < placement[rank].size(); ++chunk) {
      const int stage = placement[rank][chunk];
      PHALANX_CHECK(stage >= 0 && static_cast<size_t>(stage) < num_stages, fmt::format("stage {}", stage));
      Holder& holder = by_stage[static_cast<size_t>(stage)];
      PHALANX_CHECK(holder.rank < 0, fmt::format("stage {} is held twice", stage));
      holder = {.rank = static_cast<int>(rank), .chunk = static_cast<int>(chunk)};
    }
  }
  return by_stage;
}

bool is_compute(Op op) {
  switch (op) {
    case Op::kForward:
    case Op::kBackwardInput:
    case Op::kBackwardWeight:
    case Op::kBackward:
      return true;
    case Op::kSendForward:
    case Op::kRecvForward:
    case Op::kSendBackward:
    case Op::kRecvBackward:
      return false;
  }
  PHALANX_CHECK(false, "an op without a value");
}

bool is_backward(Op op) {
  switch (op) {
    case Op::kBackwardInput:
    case Op::kBackwardWeight:
    case Op::kBackward:
    case Op::kSendBackward:
    case Op::kRecvBackward:
      return true;
    case Op::kForward:
    case Op::kSendForward:
    case Op::kRecvForward:
      return false;
  }
  PHALANX_CHECK(false, "an op without a value");
}

bool is_send(Op op) {
  return op == Op::kSendForward || op == Op::kSendBackward;
}

std::string_view op_name(Op op) {
  PHALANX_CHECK(static_cast<size_t>(op) < kNames.size(), "an op without a name");
  return kNames[static_cast<size_t>(op)];
}

std::optional<Op> op_from_name(std::string_view name) {
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == name) return static_cast<Op>(i);
  }
  return std::nullopt;
}

std::string to_string(const Action& action) {
  std::string text = fmt::format("{} mb {} chunk {}", op_name(action.op), action.micro_batch, action.chunk);
  if (is_compute(action.op)) return text;
  return text + fmt::format(" {} rank {}", is_send(action.op) ? "to" : "from", action.peer);
}

}  // namespace phalanx
