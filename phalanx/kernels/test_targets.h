// File: phalanx/kernels/test_targets.h
//
// Purpose: for tests only: the bodies of every vector width that this machine has, not just the widest.
// Contract: the body gets the width's name; afterwards the machine's own choice holds again.
// Example: testing::for_each_target([&](const std::string& name) { EXPECT_TRUE(same(run(), widest)) << name; });
#pragma once

#include <hwy/targets.h>

#include <cstdint>
#include <string>

namespace phalanx::testing {

template <typename Body>
void for_each_target(const Body& body) {
  const int64_t supported = hwy::SupportedTargets();
  const auto choose = [](int64_t targets) {
    hwy::SetSupportedTargetsForTest(targets);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  };
  for (const int64_t target : {int64_t{HWY_AVX3}, int64_t{HWY_AVX2}, int64_t{HWY_STATIC_TARGET}}) {
    if ((supported & target) == 0) continue;
    choose(target);
    body(std::string(hwy::TargetName(target)));
  }
  choose(0);
}

}  // namespace phalanx::testing
