#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>

#include "phalanx/kernels/attention/attention.h"
#include "phalanx/kernels/test_targets.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::kernels {
namespace {

using testing::fused_error;
using testing::random_tensor;
using testing::relative_error;

struct Setting {
  int64_t heads = 1;
  int64_t groups = 1;
  int64_t head_dim = 8;
  int64_t page_size = 4;
  std::vector<int64_t> lengths = {1};
};

struct Stored {
  Tensor q;               // [n, A, D]
  Tensor pages;           // [capacity, page_size, 2, G, D]; NaN wherever nothing is stored
  Tensor table;           // [n, most pages]
  Tensor lengths;         // [n]
  std::vector<Tensor> k;  // [length, G, D] each
  std::vector<Tensor> v;
};

// Pages are handed out in a scattered order; unused entries of the table name no page.
Stored stored(const Setting& s, at::ScalarType dtype = at::kDouble, double scale = 1.0) {
  const auto n = static_cast<int64_t>(s.lengths.size());
  const auto pages_of = [&s](int64_t length) { return (length + s.page_size - 1) / s.page_size; };
  int64_t used = 0;
  int64_t most = 0;
  for (const int64_t length : s.lengths) {
    used += pages_of(length);
    most = std::max(most, pages_of(length));
  }
  const int64_t capacity = used + 3;
  Stored result;
  result.q = random_tensor({n, s.heads, s.head_dim}, 1, dtype, scale);
  result.pages =
      at::full({capacity, s.page_size, 2, s.groups, s.head_dim}, std::nan(""), at::TensorOptions(dtype));
  result.table = at::full({n, most}, -1, at::TensorOptions(at::kLong));
  result.lengths = at::tensor(s.lengths, at::TensorOptions(at::kLong));
  int64_t next = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t length = s.lengths[static_cast<size_t>(i)];
    result.k.push_back(
        random_tensor({length, s.groups, s.head_dim}, 10 + 2 * static_cast<uint64_t>(i), dtype, scale));
    result.v.push_back(
        random_tensor({length, s.groups, s.head_dim}, 11 + 2 * static_cast<uint64_t>(i), dtype));
    for (int64_t p = 0; p < pages_of(length); ++p) {
      const int64_t page = capacity - 1 - next++;
      result.table[i][p] = page;
      const int64_t rows = std::min(s.page_size, length - p * s.page_size);
      const Tensor to = result.pages[page].narrow(0, 0, rows);
      to.select(1, 0).copy_(result.k.back().narrow(0, p * s.page_size, rows));
      to.select(1, 1).copy_(result.v.back().narrow(0, p * s.page_size, rows));
    }
  }
  return result;
}

Tensor decode(const Stored& s, const AttentionSpec& spec) {
  return attention_decode(s.q, s.pages, s.table, s.lengths, spec);
}

// Row by row from the keys and values as they were before they went into pages.
Tensor by_step(const Stored& s, const AttentionSpec& spec, at::ScalarType dtype) {
  std::vector<Tensor> rows;
  for (size_t i = 0; i < s.k.size(); ++i) {
    rows.push_back(attention_step(s.q.narrow(0, static_cast<int64_t>(i), 1).to(dtype), s.k[i].to(dtype),
                                  s.v[i].to(dtype), s.k[i].size(0) - 1, spec));
  }
  return at::cat(rows);
}

TEST(AttentionDecode, EqualsAttentionStepInFp64) {
  for (const auto& [heads, groups] :
       std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {4, 4}, {6, 2}, {5, 1}}) {
    for (const int64_t page_size : {1, 4, 64}) {
      for (const int64_t window : {0, 1, 7, 100}) {
        const Stored s = stored({heads, groups, 8, page_size, {1, 2, 4, 5, 64, 65, 150, 3}});
        const AttentionSpec spec{.scale = 0.41, .window = window};
        const Tensor expected = by_step(s, spec, at::kDouble);
        EXPECT_LE(relative_error(decode(s, spec), expected), 1e-12) << heads << groups << page_size << window;
        EXPECT_LE(relative_error(attention_decode_ref(s.q, s.pages, s.table, s.lengths, spec), expected),
                  1e-12);
      }
    }
  }
}

// Several ranges of positions, which are computed apart and joined; scores far from zero, rising and falling.
TEST(AttentionDecode, LongSequencesAreJoinedFromRanges) {
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
    for (const int64_t window : {0, 600}) {
      Stored s = stored({4, 2, 16, 16, {256, 257, 1000, 1}}, dtype);
      for (const double slope : {0.0, 0.3, -0.3}) {
        const AttentionSpec spec{.scale = 0.25, .window = window};
        const Tensor drift = at::arange(1000, at::TensorOptions(at::kDouble)) * slope;
        for (size_t i = 0; i < s.k.size(); ++i) {
          const int64_t length = s.k[i].size(0);
          s.k[i].copy_(s.q[static_cast<int64_t>(i)][0].sign() *
                           drift.narrow(0, 0, length).view({length, 1, 1}) +
                       random_tensor(s.k[i].sizes().vec(), 30 + i));
          for (int64_t j = 0; j < length; ++j) {
            const int64_t page = s.table[static_cast<int64_t>(i)][j / 16].item<int64_t>();
            s.pages[page][j % 16][0].copy_(s.k[i][j]);
          }
        }
        const Tensor exact = by_step(s, spec, at::kDouble);
        const Tensor out = decode(s, spec);
        if (dtype == at::kDouble) {
          EXPECT_LE(relative_error(out, exact), 1e-12) << slope << " " << window;
        } else {
          EXPECT_EQ(fused_error(out, by_step(s, spec, dtype), exact), "") << slope << " " << window;
        }
      }
    }
  }
}

TEST(AttentionDecode, FloatAndHalfAreAsCloseAsPlainOps) {
  struct Case {
    int64_t heads, groups, head_dim;
  };
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const Case& c :
         std::vector<Case>{{6, 6, 64}, {16, 2, 64}, {3, 1, 80}, {7, 1, 128}, {4, 2, 16}, {2, 2, 9}}) {
      for (const int64_t page_size : {1, 4, 64}) {
        const Stored s =
            stored({c.heads, c.groups, c.head_dim, page_size, {1, 3, 16, 17, 77, 64, 300}}, dtype);
        for (const int64_t window : {0, 33}) {
          const AttentionSpec spec{.scale = 0.125, .window = window};
          const Tensor out = decode(s, spec);
          EXPECT_EQ(out.scalar_type(), dtype);
          EXPECT_TRUE(out.is_contiguous());
          EXPECT_EQ(fused_error(out, by_step(s, spec, dtype), by_step(s, spec, at::kDouble)), "")
              << toString(dtype)
              << fmt::format(" {}/{} x {}, pages of {}, window {}", c.heads, c.groups, c.head_dim, page_size,
                             window);
        }
      }
    }
  }
}

TEST(AttentionDecode, EveryVectorWidthIsAsClose) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (const auto& [heads, groups, head_dim] :
         {std::array{16, 2, 64}, std::array{3, 1, 80}, std::array{2, 2, 16}}) {
      const Stored s = stored({heads, groups, head_dim, 16, {1, 17, 300}}, dtype);
      const AttentionSpec spec{.scale = 0.125};
      const Tensor plain = by_step(s, spec, dtype), exact = by_step(s, spec, at::kDouble);
      phalanx::testing::for_each_target([&](const std::string& target) {
        EXPECT_EQ(fused_error(decode(s, spec), plain, exact), "") << target << " " << head_dim;
      });
    }
  }
}

// Where softmax leaves a single key: differences of scores beyond the range of fp32's exponent.
TEST(AttentionDecode, VeryLargeScores) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const Stored s = stored({4, 2, 32, 4, {90, 7}}, dtype, /*scale=*/30.0);
    const AttentionSpec spec{.scale = 1.0};
    EXPECT_EQ(fused_error(decode(s, spec), by_step(s, spec, dtype), by_step(s, spec, at::kDouble)), "");
  }
}

TEST(AttentionDecode, PagesMayBeShared) {
  Stored s = stored({4, 2, 16, 4, {11, 10}}, at::kFloat);
  s.table[1][0] = s.table[0][0];
  s.table[1][1] = s.table[0][1];
  s.k[1].narrow(0, 0, 8).copy_(s.k[0].narrow(0, 0, 8));
  s.v[1].narrow(0, 0, 8).copy_(s.v[0].narrow(0, 0, 8));
  const AttentionSpec spec{.scale = 0.3};
  EXPECT_EQ(fused_error(decode(s, spec), by_step(s, spec, at::kFloat), by_step(s, spec, at::kDouble)), "");
}

TEST(AttentionDecode, TheSameBitsForEveryThreadCountAndCompany) {
  const int threads = at::get_num_threads();
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kDouble}) {
    const Stored s = stored({6, 2, 32, 16, {1500, 3, 700, 256}}, dtype);
    const AttentionSpec spec{.scale = 0.3, .window = 1200};
    at::set_num_threads(1);
    const Tensor one = decode(s, spec);
    for (const int count : {2, 3, 4}) {
      at::set_num_threads(count);
      EXPECT_TRUE(at::equal(decode(s, spec), one)) << count;
    }
    for (int64_t i = 0; i < 4; ++i) {
      const Tensor alone = attention_decode(s.q.narrow(0, i, 1), s.pages, s.table.narrow(0, i, 1),
                                            s.lengths.narrow(0, i, 1), spec);
      EXPECT_TRUE(at::equal(alone[0], one[i])) << i;
    }
  }
  at::set_num_threads(threads);
}

TEST(AttentionDecode, NotANumberInAKeyShows) {
  Stored s = stored({4, 2, 16, 4, {30}}, at::kFloat);
  const AttentionSpec spec{.scale = 0.3};
  s.pages[s.table[0][2].item<int64_t>()][1][0][1].fill_(std::nan(""));  // a key of the second group
  const Tensor out = decode(s, spec);
  EXPECT_FALSE(out.narrow(1, 0, 2).isnan().any().item<bool>());
  EXPECT_TRUE(out.narrow(1, 2, 2).isnan().all().item<bool>());
}

TEST(AttentionDecode, ReadsStridedQueriesAndOtherTables) {
  const Stored s = stored({4, 2, 16, 4, {9, 30}}, at::kFloat);
  const AttentionSpec spec{.scale = 0.3};
  const Tensor expected = decode(s, spec);
  const Tensor wide = at::stack({s.q, s.q * 0}, 2);  // [n, A, 2, D]
  const Tensor table = at::stack({s.table, s.table}, 2).select(2, 0);
  EXPECT_TRUE(at::equal(attention_decode(wide.select(2, 0), s.pages, table, s.lengths, spec), expected));
  EXPECT_EQ(
      attention_decode(s.q.narrow(0, 0, 0), s.pages, s.table.narrow(0, 0, 0), s.lengths.narrow(0, 0, 0), spec)
          .sizes(),
      (at::IntArrayRef{0, 4, 16}));
}

TEST(AttentionDecodeDeathTest, RefusesWhatTheContractExcludes) {
  const Stored s = stored({4, 2, 8, 4, {9}}, at::kFloat);
  EXPECT_DEATH(attention_decode(s.q, s.pages, s.table, s.lengths * 0, {}), "row 0 has length 0");
  EXPECT_DEATH(attention_decode(s.q, s.pages, s.table, s.lengths + 4, {}), "row 0 has length 13");
  EXPECT_DEATH(attention_decode(s.q, s.pages, s.table + 100, s.lengths, {}), "row 0 lists page 105");
  EXPECT_DEATH(attention_decode(s.q.narrow(1, 0, 3), s.pages, s.table, s.lengths, {}), "q 1x3x8");
  EXPECT_DEATH(attention_decode(s.q, s.pages, s.table, s.lengths, {.dropout = 0.1}), "drops nothing");
}

}  // namespace
}  // namespace phalanx::kernels
