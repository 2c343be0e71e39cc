#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "phalanx/kernels/attention/attention.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::kernels {
namespace {

using testing::fused_error;
using testing::random_tensor;
using testing::relative_error;

struct Sequence {
  Tensor q, k, v;  // [S, heads, D]
};

Sequence sequence(int64_t S, int64_t A, int64_t G, int64_t D, at::ScalarType dtype) {
  return {random_tensor({S, A, D}, 1, dtype), random_tensor({S, G, D}, 2, dtype),
          random_tensor({S, G, D}, 3, dtype)};
}

Tensor full_rows(const Sequence& s, const AttentionSpec& spec) {
  return attention_forward_ref({s.q.unsqueeze(0), s.k.unsqueeze(0), s.v.unsqueeze(0), {}, {}}, spec).out[0];
}

TEST(AttentionStep, EveryCutOfASequenceGivesTheRowsOfTheWhole) {
  for (const auto& [A, G] : std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {4, 4}, {4, 2}, {4, 1}}) {
    for (const int64_t window : {0, 1, 3, 40}) {
      const Sequence s = sequence(33, A, G, 8, at::kDouble);
      const AttentionSpec spec{.scale = 0.41, .window = window};
      const Tensor whole = full_rows(s, spec);
      for (const auto& [first, n] :
           std::vector<std::pair<int64_t, int64_t>>{{0, 1}, {0, 33}, {32, 1}, {7, 1}, {7, 5}, {20, 13}}) {
        const Tensor rows = attention_step(s.q.narrow(0, first, n), s.k, s.v, first, spec);
        EXPECT_LE(relative_error(rows, whole.narrow(0, first, n)), 1e-13)
            << A << G << " " << first << "+" << n;
        EXPECT_TRUE(rows.is_contiguous());
      }
    }
  }
}

TEST(AttentionStep, LongPromptsGoInBlocks) {
  const Sequence s = sequence(300, 2, 1, 8, at::kDouble);
  for (const int64_t window : {0, 50}) {
    const AttentionSpec spec{.scale = 0.41, .window = window};
    const Tensor whole = full_rows(s, spec);
    EXPECT_LE(relative_error(attention_step(s.q, s.k, s.v, 0, spec), whole), 1e-13);
    EXPECT_LE(
        relative_error(attention_step(s.q.narrow(0, 20, 280), s.k, s.v, 20, spec), whole.narrow(0, 20, 280)),
        1e-13);
  }
}

TEST(AttentionStep, KeysAfterTheRowsAreNotRead) {
  Sequence s = sequence(12, 4, 2, 8, at::kFloat);
  const AttentionSpec spec{.scale = 0.41};
  const Tensor before = attention_step(s.q.narrow(0, 4, 2), s.k, s.v, 4, spec);
  s.k.narrow(0, 6, 6).fill_(std::nan(""));
  s.v.narrow(0, 6, 6).fill_(std::nan(""));
  EXPECT_TRUE(at::equal(attention_step(s.q.narrow(0, 4, 2), s.k, s.v, 4, spec), before));
}

TEST(AttentionStep, FloatAndHalfAreAsCloseAsPlainOps) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const auto& [A, G] : std::vector<std::pair<int64_t, int64_t>>{{4, 4}, {4, 1}, {6, 2}}) {
      const Sequence s = sequence(77, A, G, 64, dtype);
      const Sequence exact{s.q.to(at::kDouble), s.k.to(at::kDouble), s.v.to(at::kDouble)};
      const AttentionSpec spec{.scale = 0.125};
      const Tensor plain_rows = full_rows(s, spec);
      const Tensor exact_rows = full_rows(exact, spec);
      for (const auto& [first, n] :
           std::vector<std::pair<int64_t, int64_t>>{{76, 1}, {0, 1}, {70, 7}, {0, 77}}) {
        const Tensor rows = attention_step(s.q.narrow(0, first, n), s.k, s.v, first, spec);
        EXPECT_EQ(rows.scalar_type(), dtype);
        EXPECT_EQ(fused_error(rows, plain_rows.narrow(0, first, n), exact_rows.narrow(0, first, n)), "")
            << toString(dtype) << " " << A << G << " " << first << "+" << n;
      }
    }
  }
}

TEST(AttentionStep, ReadsStridedKeysAndValues) {
  const Sequence s = sequence(9, 4, 2, 8, at::kFloat);
  const Tensor both = at::stack({s.k, s.v}, 1);  // [L, 2, G, D], as a cache page holds them
  const AttentionSpec spec{.scale = 0.41};
  EXPECT_LE(relative_error(attention_step(s.q.narrow(0, 8, 1), both.select(1, 0), both.select(1, 1), 8, spec),
                           attention_step(s.q.narrow(0, 8, 1), s.k, s.v, 8, spec)),
            1e-6);
}

TEST(AttentionStepDeathTest, RefusesWhatTheContractExcludes) {
  const Sequence s = sequence(5, 4, 2, 8, at::kFloat);
  EXPECT_DEATH(attention_step(s.q, s.k, s.v, 1, {}), "rows 1 to 5 of 5 keys");
  EXPECT_DEATH(attention_step(s.q.narrow(1, 0, 3), s.k, s.v, 0, {}), "q 5x3x8");
  EXPECT_DEATH(attention_step(s.q, s.k, s.v, 0, {.dropout = 0.1}), "drops nothing");
}

}  // namespace
}  // namespace phalanx::kernels
