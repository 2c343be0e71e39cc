#include "phalanx/kernels/embedding/embedding.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <array>

#include "phalanx/base/philox.h"
#include "phalanx/kernels/embedding/embedding_ref.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::kernels {
namespace {

using testing::autograd_gradients;
using testing::fused_error;
using testing::random_tensor;
using testing::relative_error;

const std::vector<std::array<int64_t, 3>> kShapes = {{1, 1, 1},  {1, 5, 3},     {7, 1, 5},     {13, 4, 1},
                                                     {31, 9, 7}, {300, 17, 33}, {400, 203, 65}};  // T, V, H

Tensor random_ids(int64_t rows, int64_t limit) {
  Tensor ids = at::empty({rows}, at::TensorOptions(at::kLong));
  for (int64_t i = 0; i < rows; ++i) {
    ids[i] = static_cast<int64_t>(philox_u32({.seed = 9}, static_cast<uint64_t>(i)) %
                                  static_cast<uint64_t>(limit));
  }
  return ids;
}

TEST(Embedding, EqualsTheReferenceAndItsGradientInFp64) {
  for (const auto& [rows, vocab, columns] : kShapes) {
    const Tensor ids = random_ids(rows, vocab);
    const Tensor table = random_tensor({vocab, columns}, 1);
    const Tensor dy = random_tensor({rows, columns}, 2);
    EXPECT_TRUE(at::equal(embedding_forward(ids, table), embedding_forward_ref(ids, table)));
    const std::vector<Tensor> expected = autograd_gradients(
        [&ids](const std::vector<Tensor>& v) {
          return std::vector<Tensor>{embedding_forward_ref(ids, v[0])};
        },
        {table}, {dy});
    Tensor dtable = at::zeros_like(table);
    embedding_backward(dy, ids, dtable);
    EXPECT_LE(relative_error(dtable, expected[0]), 1e-10);
    embedding_backward(dy, ids, dtable);  // adds
    EXPECT_LE(relative_error(dtable, 2.0 * expected[0]), 1e-10);
  }
}

TEST(Embedding, TheReferencesGradientIsTheDerivative) {
  const Tensor ids = random_ids(6, 4);
  const Tensor table = random_tensor({4, 3}, 1);
  const Tensor dy = random_tensor({6, 3}, 2);
  const auto loss = [&] { return (embedding_forward_ref(ids, table) * dy).sum().item<double>(); };
  Tensor dtable = at::zeros_like(table);
  embedding_backward(dy, ids, dtable);
  for (int64_t i = 0; i < table.numel(); ++i) {
    const Tensor entry = table.view({-1})[i];
    const double before = entry.item<double>();
    entry.fill_(before + 0.5);
    const double up = loss();
    entry.fill_(before - 0.5);
    EXPECT_NEAR(up - loss(), dtable.view({-1})[i].item<double>(), 1e-12);
    entry.fill_(before);
  }
}

TEST(Embedding, Fp32AndHalfAreAsCloseAsPlainOps) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const auto& [rows, vocab, columns] : kShapes) {
      const Tensor ids = random_ids(rows, vocab);
      const Tensor table = random_tensor({vocab, columns}, 1, dtype);
      const Tensor dy = random_tensor({rows, columns}, 2, dtype);
      const Tensor y = embedding_forward(ids, table);
      EXPECT_EQ(y.scalar_type(), dtype);
      EXPECT_TRUE(at::equal(y, embedding_forward_ref(ids, table)));
      const std::vector<Tensor> exact = autograd_gradients(
          [&ids](const std::vector<Tensor>& v) {
            return std::vector<Tensor>{embedding_forward_ref(ids, v[0])};
          },
          {table.to(at::kDouble)}, {dy.to(at::kDouble)});
      for (const at::ScalarType sum_dtype : {dtype, at::kFloat}) {
        const Tensor one_hot = (ids.unsqueeze(0) == at::arange(vocab).unsqueeze(1)).to(sum_dtype);
        const Tensor plain = at::mm(one_hot, dy.to(sum_dtype));
        Tensor dtable = at::zeros({vocab, columns}, at::TensorOptions(sum_dtype));
        embedding_backward(dy, ids, dtable);
        EXPECT_EQ(fused_error(dtable, plain, exact[0]), "") << rows << " " << vocab << " " << columns;
      }
    }
  }
}

// Fp32 sums tell the order: they equal a loop over rows, bit for bit, at any thread count.
TEST(Embedding, BackwardSumsInRowOrderAtAnyThreadCount) {
  const int threads = at::get_num_threads();
  for (const int64_t vocab : {1, 3, 900}) {
    const int64_t rows = 1500;
    const int64_t columns = 70;
    const Tensor ids = random_ids(rows, vocab);
    const Tensor dy = random_tensor({rows, columns}, 2, at::kFloat);
    Tensor expected = random_tensor({vocab, columns}, 3, at::kFloat);
    const Tensor start = expected.clone();
    for (int64_t t = 0; t < rows; ++t) {
      float* to = expected.data_ptr<float>() + ids.const_data_ptr<int64_t>()[t] * columns;
      for (int64_t h = 0; h < columns; ++h) to[h] += dy.const_data_ptr<float>()[t * columns + h];
    }
    for (const int n : {1, 2, 3}) {
      at::set_num_threads(n);
      Tensor dtable = start.clone();
      embedding_backward(dy, ids, dtable);
      EXPECT_TRUE(at::equal(dtable, expected)) << vocab << " rows, " << n << " threads";
    }
  }
  at::set_num_threads(threads);
}

TEST(Embedding, Views) {
  const Tensor ids = random_ids(20, 6);
  const Tensor wide = random_tensor({20, 12}, 1);
  const Tensor table = random_tensor({6, 12}, 3).slice(1, 2, 9);
  EXPECT_TRUE(at::equal(embedding_forward(ids, table), embedding_forward(ids, table.contiguous())));
  Tensor frame = at::zeros({6, 12});
  Tensor dtable = frame.slice(1, 2, 9);
  embedding_backward(wide.slice(1, 3, 10), ids, dtable);
  Tensor dense = at::zeros({6, 7});
  embedding_backward(wide.slice(1, 3, 10).contiguous(), ids, dense);
  EXPECT_LE(relative_error(dtable, dense), 1e-6);
  EXPECT_TRUE((frame.slice(1, 0, 2) == 0).all().item<bool>() && (frame.slice(1, 9) == 0).all().item<bool>());
}

TEST(Embedding, NoRows) {
  const Tensor ids = at::empty({0}, at::TensorOptions(at::kLong));
  Tensor table = at::ones({3, 2});
  EXPECT_EQ(embedding_forward(ids, table).sizes(), (at::IntArrayRef{0, 2}));
  embedding_backward(at::empty({0, 2}), ids, table);
  EXPECT_TRUE((table == 1).all().item<bool>());
}

TEST(EmbeddingDeathTest, WrongArgumentsAreBugs) {
  Tensor table = at::zeros({3, 2});
  const Tensor ids = at::arange(3);
  EXPECT_DEATH(embedding_forward(ids + 1, table), "ids from 1 to 3 for 3 rows");
  EXPECT_DEATH(embedding_forward(ids - 1, table), "ids from -1 to 1 for 3 rows");
  EXPECT_DEATH(embedding_forward(ids.to(at::kInt), table), "ids are Int \\[3\\]");
  EXPECT_DEATH(embedding_forward(ids, at::zeros({3})), "the table is Float \\[3\\]");
  EXPECT_DEATH(embedding_backward(at::zeros({3, 4}), ids, table), "dy Float \\[3, 4\\]");
}

}  // namespace
}  // namespace phalanx::kernels
