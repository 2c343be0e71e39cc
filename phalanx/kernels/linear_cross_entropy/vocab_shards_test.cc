// The loss where ranks share the vocabulary: both halves of the work, run for all ranks one after the other, against the
// whole vocabulary at once.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "phalanx/kernels/linear_cross_entropy/linear_cross_entropy_cpu.h"
#include "phalanx/kernels/linear_cross_entropy/linear_cross_entropy_ref.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::kernels {
namespace {

using testing::fused_error;
using testing::random_tensor;
using testing::relative_error;

struct Rows {
  Tensor logits;  // [rows, padded], padding holds values that must not count
  Tensor labels;
  Tensor loss_weight;
};

Rows make_rows(int64_t rows, int64_t vocab, int64_t padded, at::ScalarType dtype) {
  Rows r{random_tensor({rows, padded}, 4, dtype, 3.0),
         (at::arange(rows, at::kLong) * 7 + 3).remainder(vocab),
         {}};
  r.logits.narrow(1, vocab, padded - vocab).fill_(50.0);
  r.loss_weight = ((at::arange(rows, at::kDouble) + 1.0) * 0.1).to(dtype);
  r.labels[1] = -1;
  r.loss_weight[2] = 0.0;
  r.labels[rows - 1] = vocab - 1;
  return r;
}

struct Result {
  Tensor nll;
  Tensor gradient;  // undefined without weights
};

Result whole(const Rows& r, int64_t vocab, bool with_gradient) {
  Result result{at::empty({r.labels.size(0)}, r.logits.options()), r.logits.clone()};
  head_chunk_ref(result.gradient, r.labels, with_gradient ? r.loss_weight : Tensor(), vocab, result.nll);
  if (!with_gradient) result.gradient = Tensor();
  return result;
}

int64_t valid_of(int64_t vocab, int64_t columns, int rank) {
  return std::clamp<int64_t>(vocab - rank * columns, 0, columns);
}

template <typename T>
Result shards_cpu(const Rows& r, int64_t vocab, int ranks, bool with_gradient) {
  const int64_t n = r.labels.size(0);
  const int64_t columns = r.logits.size(1) / ranks;
  const Tensor all = at::full({ranks, n, kHeadStatistics}, std::nan(""), at::TensorOptions(at::kDouble));
  std::vector<Tensor> pieces;
  std::vector<Tensor> nlls;
  std::vector<HeadShard<T>> shards;
  for (int rank = 0; rank < ranks; ++rank) {
    pieces.push_back(r.logits.narrow(1, rank * columns, columns).clone());
    nlls.push_back(at::empty({n}, r.logits.options()));
    shards.push_back({.rows = {.logits = pieces.back().data_ptr<T>(),
                               .row_stride = columns,
                               .valid = valid_of(vocab, columns, rank),
                               .padded = columns,
                               .labels = r.labels.const_data_ptr<int64_t>(),
                               .loss_weight = with_gradient ? r.loss_weight.const_data_ptr<T>() : nullptr,
                               .nll = nlls.back().data_ptr<T>()},
                      .num_rows = n,
                      .first_column = rank * columns,
                      .rank = rank,
                      .ranks = ranks,
                      .own = all[rank].data_ptr<double>(),
                      .all = all.const_data_ptr<double>()});
    head_row_statistics<T>(shards.back(), 0, n);
  }
  for (const HeadShard<T>& shard : shards) {
    head_row_gradients<T>(shard, 0, 1);  // any split over threads
    head_row_gradients<T>(shard, 1, n);
  }
  for (const Tensor& nll : nlls)
    EXPECT_TRUE(at::allclose(nll, nlls[0], 0.0, 0.0, /*equal_nan=*/true)) << "ranks have other losses";
  return {nlls[0], with_gradient ? at::cat(pieces, 1) : Tensor()};
}

Result shards_ref(const Rows& r, int64_t vocab, int ranks, bool with_gradient) {
  const int64_t columns = r.logits.size(1) / ranks;
  std::vector<Tensor> statistics;
  std::vector<Tensor> pieces;
  Tensor nll = at::empty({r.labels.size(0)}, r.logits.options());
  for (int rank = 0; rank < ranks; ++rank) {
    pieces.push_back(r.logits.narrow(1, rank * columns, columns).clone());
    statistics.push_back(
        head_statistics_ref(pieces.back(), r.labels, rank * columns, valid_of(vocab, columns, rank)));
  }
  for (int rank = 0; rank < ranks; ++rank) {
    head_gradients_ref(pieces[static_cast<size_t>(rank)], r.labels, with_gradient ? r.loss_weight : Tensor(),
                       rank * columns, valid_of(vocab, columns, rank), at::stack(statistics), nll);
  }
  return {nll, with_gradient ? at::cat(pieces, 1) : Tensor()};
}

struct Case {
  int64_t vocab, padded;
  int ranks;
};

const Case kCases[] = {{11, 16, 4}, {211, 256, 4}, {211, 212, 4}, {1030, 1032, 2}, {5, 8, 8}, {3, 3, 1}};

TEST(VocabShards, EqualTheWholeVocabulary) {
  for (const auto& [vocab, padded, ranks] : kCases) {
    for (const bool with_gradient : {true, false}) {
      const Rows rows = make_rows(9, vocab, padded, at::kDouble);
      const Result want = whole(rows, vocab, with_gradient);
      for (const Result& got : {shards_cpu<double>(rows, vocab, ranks, with_gradient),
                                shards_ref(rows, vocab, ranks, with_gradient)}) {
        EXPECT_LE(relative_error(got.nll, want.nll), 1e-14) << vocab << " over " << ranks;
        EXPECT_EQ(got.nll[1].item<double>(), 0.0);
        if (!with_gradient) continue;
        EXPECT_LE(relative_error(got.gradient, want.gradient), 1e-14) << vocab << " over " << ranks;
        EXPECT_TRUE(got.gradient.narrow(1, vocab, padded - vocab).eq(0.0).all().item<bool>());
        EXPECT_TRUE(got.gradient.narrow(0, 1, 2).eq(0.0).all().item<bool>());
      }
    }
  }
}

TEST(VocabShards, FloatIsAsCloseAsTheWhole) {
  for (const auto& [vocab, padded, ranks] : kCases) {
    const Rows rows = make_rows(9, vocab, padded, at::kFloat);
    const Rows exact_rows{rows.logits.to(at::kDouble), rows.labels, rows.loss_weight.to(at::kDouble)};
    const Result exact = whole(exact_rows, vocab, true);
    const Result plain = whole(rows, vocab, true);
    for (const Result& got :
         {shards_cpu<float>(rows, vocab, ranks, true), shards_ref(rows, vocab, ranks, true)}) {
      EXPECT_EQ(fused_error(got.nll, plain.nll, exact.nll), "") << vocab << " over " << ranks;
      EXPECT_EQ(fused_error(got.gradient, plain.gradient, exact.gradient), "") << vocab << " over " << ranks;
    }
  }
}

TEST(VocabShards, ExtremeLogitsOfOneRankStayFiniteAndNotANumberShowsOnAll) {
  Rows rows = make_rows(5, 11, 16, at::kFloat);
  rows.logits.narrow(1, 0, 4).fill_(1e4f);  // rank 0 dwarfs the others
  const Result want =
      whole({rows.logits.to(at::kDouble), rows.labels, rows.loss_weight.to(at::kDouble)}, 11, true);
  const Result got = shards_cpu<float>(rows, 11, 4, true);
  EXPECT_TRUE(got.nll.isfinite().all().item<bool>() && got.gradient.isfinite().all().item<bool>());
  EXPECT_LE(relative_error(got.nll, want.nll), 1e-6);
  EXPECT_LE(relative_error(got.gradient, want.gradient), 1e-6);
  rows.logits[3][9] = std::numeric_limits<float>::quiet_NaN();
  const Result bad = shards_cpu<float>(rows, 11, 4, true);
  EXPECT_TRUE(bad.nll[3].isnan().item<bool>());
  EXPECT_TRUE(bad.gradient[3].narrow(0, 0, 11).isnan().all().item<bool>());
  EXPECT_FALSE(bad.nll[4].isnan().item<bool>());
}

}  // namespace
}  // namespace phalanx::kernels
