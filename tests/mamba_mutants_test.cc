// The mistakes of state-space layers under a layout, each caught by an axis of the grid and unseen without it (DESIGN 7.3).
#include <gtest/gtest.h>

#include "tests/layout_mutants.h"
#include "tests/layout_setting.h"

namespace phalanx {
namespace {

using testing::called_identical;
using testing::expect_caught;
using testing::in_reductions;
using testing::Setting;

bool is_shared_by_groups(const std::string& name) {
  for (const char* part : {"mamba.B.", "mamba.C.", "mamba.conv_B.", "mamba.conv_C."}) {
    if (name.find(part) != std::string::npos) return true;
  }
  return false;
}

TEST(MambaMutants, SharedBAndCNotSummed) {
  for (const char* groups : {"2", "1"}) {
    expect_caught({{"layers", "M-"}, {"tp", "4"}, {"mamba_groups", groups}}, {{{"mamba_groups", "4"}}},
                  called_identical(is_shared_by_groups));
  }
}

// What a rank takes for the norm group: its own channels, where the group spans ranks.
TEST(MambaMutants, NormGroupOfTheRankAlone) {
  expect_caught({{"layers", "M-"}, {"tp", "2"}, {"norm_group", "whole"}, {"mamba_groups", "4"}},
                {{{"norm_group", "own"}}, {{"layers", "m-"}}},
                in_reductions("tp", [](comm::Group& real, Tensor& t, comm::ReduceOp) -> comm::WorkPtr {
                  const bool is_mean_square = t.dim() == 2 && t.size(1) == 1 && t.is_floating_point();
                  if (!is_mean_square) return nullptr;
                  t.mul_(real.size());
                  return testing::no_work();
                }));
}

TEST(MambaMutants, StateNotResetAtDocuments) {
  for (const char* layers : {"M-", "m-"}) {
    expect_caught({{"layers", layers}, {"pp", "2"}, {"attention", "documents"}}, {{{"attention", "causal"}}},
                  [](const Setting& s) {
                    return testing::with_batches(s, [](int, int64_t, std::vector<HostBatch>& batches) {
                      for (HostBatch& host : batches) host.document.clear();
                    });
                  });
  }
}

// Mamba-1: what W_x gives, and its gradient, comes from every rank's channels.
TEST(MambaMutants, DeltaBAndCOfTheRanksChannelsAlone) {
  expect_caught({{"layers", "m-"}, {"tp", "2"}}, {{{"tp", "1"}}, {{"layers", "*-"}}},
                in_reductions("tp", [](comm::Group&, Tensor& t, comm::ReduceOp) -> comm::WorkPtr {
                  const int64_t low = 1 + 2 * 3;  // rank of delta, B and C of three states
                  return t.dim() == 2 && t.size(1) == low ? testing::no_work() : nullptr;
                }));
}

}  // namespace
}  // namespace phalanx
