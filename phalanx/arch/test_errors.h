// File: phalanx/arch/test_errors.h
//
// Purpose: for this folder's tests: the message of the error that a call throws, so that tests can assert on its text.
// Contract: fails the test when nothing, or something that is no Error(kBadInput), is thrown.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "phalanx/base/error.h"

namespace phalanx {

template <typename Call>
std::string message_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    return error.what();
  }
  ADD_FAILURE() << "no error was thrown";
  return "";
}

}  // namespace phalanx
