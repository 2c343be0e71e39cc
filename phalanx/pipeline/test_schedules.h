// File: phalanx/pipeline/test_schedules.h
//
// Purpose: for tests of schedules: short ways to write actions down, to read lists, and to catch an error's text.
// Contract: F(3, 1) is the forward of micro-batch 3 through chunk 1.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>

#include "phalanx/base/error.h"
#include "phalanx/pipeline/schedule.h"

namespace phalanx {

inline Action F(int micro_batch, int chunk = 0) {
  return {.op = Op::kForward, .micro_batch = micro_batch, .chunk = chunk};
}
inline Action B(int micro_batch, int chunk = 0) {
  return {.op = Op::kBackwardInput, .micro_batch = micro_batch, .chunk = chunk};
}
inline Action W(int micro_batch, int chunk = 0) {
  return {.op = Op::kBackwardWeight, .micro_batch = micro_batch, .chunk = chunk};
}
inline Action BW(int micro_batch, int chunk = 0) {
  return {.op = Op::kBackward, .micro_batch = micro_batch, .chunk = chunk};
}

// "F 0.1" is micro-batch 0 through chunk 1, "send_f 0.1>2" its result on the way to rank 2.
inline std::string text_of(const Action& action) {
  const std::string text = fmt::format("{} {}.{}", op_name(action.op), action.micro_batch, action.chunk);
  return is_compute(action.op) ? text
                               : fmt::format("{}{}{}", text, is_send(action.op) ? ">" : "<", action.peer);
}

inline std::string text_of(const ActionList& list, bool messages = true) {
  std::string text;
  for (const Action& action : list) {
    if (!messages && !is_compute(action.op)) continue;
    text += (text.empty() ? "" : ", ") + text_of(action);
  }
  return text;
}

// What the Error(kBadInput) of `call` says.
template <typename Call>
std::string refusal(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "nothing was refused";
  return "";
}

}  // namespace phalanx
