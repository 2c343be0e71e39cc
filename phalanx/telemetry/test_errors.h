// File: phalanx/telemetry/test_errors.h
//
// Purpose: for tests: the Error that a call throws, so that its kind and text can be asserted.
// Contract: a call that throws nothing gives an Error whose text is "(nothing thrown)".
// Example: EXPECT_EQ(error_of([] { read_metrics("no/such"); }).kind(), ErrorKind::kIo);
#pragma once

#include "phalanx/base/error.h"

namespace phalanx {

template <typename Call>
Error error_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  return Error(ErrorKind::kUsage, {.where = "(nothing thrown)"});
}

}  // namespace phalanx
