#include "phalanx/kernels/linear_cross_entropy/linear_cross_entropy.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "phalanx/kernels/linear_cross_entropy/exp_nonpositive.h"
#include "phalanx/kernels/linear_cross_entropy/linear_cross_entropy_ref.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::kernels {
namespace {

using testing::autograd_gradients;
using testing::fused_error;
using testing::random_tensor;
using testing::relative_error;

struct Case {
  int64_t T, H, vocab, padded, chunk;
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {{1, 1, 1, 1, 1},         {1, 8, 7, 8, 4},      {5, 3, 130, 256, 2},
                                        {33, 17, 61, 64, 7},     {33, 17, 61, 61, 33}, {12, 5, 600, 640, 100},
                                        {70, 32, 2051, 2176, 32}};
  return all;
}

struct Problem {
  Tensor x, weight, labels, loss_weight;
};

// Some rows weigh nothing, some of those have no label; weights differ from row to row.
Problem make_problem(const Case& c, at::ScalarType dtype) {
  Problem p{random_tensor({c.T, c.H}, 1, dtype), random_tensor({c.padded, c.H}, 2, dtype), {}, {}};
  const Tensor row = at::arange(c.T, at::kLong);
  p.labels = (row * 37 + 5).remainder(c.vocab);
  p.loss_weight = (row.to(at::kDouble) + 1.0) * 0.01;
  if (c.T > 4) {
    p.loss_weight.masked_fill_(row.remainder(4) == 2, 0.0);
    p.labels.masked_fill_(row.remainder(8) == 2, -1);
  }
  p.loss_weight = p.loss_weight.to(dtype == at::kDouble ? at::kDouble : at::kFloat);
  return p;
}

TEST(LinearCrossEntropy, LossAndGradientsMatchAutograd) {
  const Gemm gemm;
  for (const Case& c : cases()) {
    const Problem p = make_problem(c, at::kDouble);
    const auto f = [&](const std::vector<Tensor>& in) {
      return std::vector<Tensor>{linear_cross_entropy_ref(in[0], in[1], p.labels, c.vocab)};
    };
    const std::vector<Tensor> grads = autograd_gradients(f, {p.x, p.weight}, {p.loss_weight});
    Tensor dweight = at::full_like(p.weight, std::numeric_limits<double>::quiet_NaN());
    GradSlot slot{dweight, 0.0};
    const auto out =
        linear_cross_entropy(p.x, p.weight, p.labels, p.loss_weight, &slot, c.vocab, gemm, c.chunk);
    EXPECT_LE(relative_error(out.nll, f({p.x, p.weight})[0]), 1e-13) << c.T << " " << c.vocab;
    EXPECT_LE(relative_error(out.dx, grads[0]), 1e-10) << c.T << " " << c.vocab;
    EXPECT_LE(relative_error(dweight, grads[1]), 1e-10) << c.T << " " << c.vocab;
    EXPECT_TRUE((dweight.narrow(0, c.vocab, c.padded - c.vocab) == 0.0).all().item<bool>());
    EXPECT_TRUE((out.nll.masked_select(p.labels < 0) == 0.0).all().item<bool>());
    EXPECT_TRUE((out.dx.index({p.loss_weight == 0.0}) == 0.0).all().item<bool>());

    // A second micro-batch adds.
    GradSlot more{dweight, 1.0};
    linear_cross_entropy(p.x, p.weight, p.labels, p.loss_weight, &more, c.vocab, gemm, c.chunk);
    EXPECT_LE(relative_error(dweight, 2.0 * grads[1]), 1e-10);

    const auto frozen =
        linear_cross_entropy(p.x, p.weight, p.labels, p.loss_weight, nullptr, c.vocab, gemm, c.chunk);
    EXPECT_TRUE(at::equal(frozen.dx, out.dx));
    const auto forward = linear_cross_entropy(p.x, p.weight, p.labels, {}, nullptr, c.vocab, gemm, c.chunk);
    EXPECT_TRUE(at::equal(forward.nll, out.nll));
    EXPECT_FALSE(forward.dx.defined());
  }
}

// The same by separate operations of the dtype: logits in fp32, gradients rounded before the products.
struct Plain {
  Tensor nll, dx, dweight;
};

Plain plain_ops(const Problem& p, int64_t vocab) {
  const at::ScalarType sums = p.loss_weight.scalar_type();
  Plain result;
  Tensor logits = p.x.to(sums).matmul(p.weight.to(sums).t());
  result.nll = at::empty({p.x.size(0)}, logits.options());
  head_chunk_ref(logits, p.labels, p.loss_weight, vocab, result.nll);
  const Tensor dlogits = logits.to(p.x.scalar_type()).to(sums);
  result.dx = dlogits.matmul(p.weight.to(sums)).to(p.x.scalar_type());
  result.dweight = dlogits.t().matmul(p.x.to(sums));
  return result;
}

TEST(LinearCrossEntropy, FloatAndHalfAreAsCloseAsPlainOps) {
  const Gemm gemm;
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (const Case& c : cases()) {
      const Problem p = make_problem(c, dtype);
      const Problem exact_problem{p.x.to(at::kDouble), p.weight.to(at::kDouble), p.labels,
                                  p.loss_weight.to(at::kDouble)};
      const Plain plain = plain_ops(p, c.vocab);
      const Plain exact = plain_ops(exact_problem, c.vocab);
      Tensor dweight = at::empty(p.weight.sizes(), at::kFloat);
      GradSlot slot{dweight, 0.0};
      const auto out =
          linear_cross_entropy(p.x, p.weight, p.labels, p.loss_weight, &slot, c.vocab, gemm, c.chunk);
      EXPECT_EQ(out.nll.scalar_type(), at::kFloat);
      EXPECT_EQ(out.dx.scalar_type(), dtype);
      EXPECT_EQ(fused_error(out.nll, plain.nll, exact.nll), "") << toString(dtype) << " " << c.T;
      EXPECT_EQ(fused_error(out.dx, plain.dx, exact.dx), "") << toString(dtype) << " " << c.T;
      EXPECT_EQ(fused_error(dweight, plain.dweight, exact.dweight), "") << toString(dtype) << " " << c.T;
    }
  }
}

TEST(LinearCrossEntropy, TheChunkReferenceIsTheTwinOfTheBody) {
  const Gemm gemm;
  for (const Case& c : cases()) {
    const Problem p = make_problem(c, at::kDouble);
    const Plain plain = plain_ops(p, c.vocab);
    Tensor dweight = at::empty_like(p.weight);
    GradSlot slot{dweight, 0.0};
    const auto out = linear_cross_entropy(p.x, p.weight, p.labels, p.loss_weight, &slot, c.vocab, gemm, c.T);
    EXPECT_LE(relative_error(plain.nll, out.nll), 1e-13);
    EXPECT_LE(relative_error(plain.dx, out.dx), 1e-13);
    EXPECT_LE(relative_error(plain.dweight, dweight), 1e-13);
  }
}

TEST(LinearCrossEntropy, RowsThatDoNotCountGiveNothing) {
  const Gemm gemm;
  const Case c{6, 4, 10, 16, 4};
  Problem p = make_problem(c, at::kFloat);
  p.loss_weight.zero_();
  p.labels.fill_(-1);
  p.x[3].fill_(std::numeric_limits<float>::infinity());  // even where the logits are not numbers
  Tensor dweight = at::ones_like(p.weight);
  GradSlot slot{dweight, 0.0};
  // The product that makes dW would spread 0 x infinity; the row's own gradient must be zero all the same.
  const auto out =
      linear_cross_entropy(p.x, p.weight, p.labels, p.loss_weight, nullptr, c.vocab, gemm, c.chunk);
  EXPECT_TRUE((out.nll == 0.0).all().item<bool>());
  EXPECT_TRUE((out.dx == 0.0).all().item<bool>());
  p.x[3].fill_(1.0);
  linear_cross_entropy(p.x, p.weight, p.labels, p.loss_weight, &slot, c.vocab, gemm, c.chunk);
  EXPECT_TRUE((dweight == 0.0).all().item<bool>());

  // Without a label there is nothing to learn, even if the row had a weight.
  p.loss_weight.fill_(0.5);
  const auto unlabelled =
      linear_cross_entropy(p.x, p.weight, p.labels, p.loss_weight, nullptr, c.vocab, gemm, c.chunk);
  EXPECT_TRUE((unlabelled.dx == 0.0).all().item<bool>());
  Tensor logits = p.x.matmul(p.weight.t());
  head_chunk_ref(logits, p.labels, p.loss_weight, c.vocab, at::empty({c.T}));
  EXPECT_TRUE((logits == 0.0).all().item<bool>());

  // No rows at all: the first contribution still overwrites.
  Tensor stale = at::ones_like(p.weight);
  GradSlot first{stale, 0.0};
  const auto none = linear_cross_entropy(p.x.narrow(0, 0, 0), p.weight, p.labels.narrow(0, 0, 0),
                                         p.loss_weight.narrow(0, 0, 0), &first, c.vocab, gemm, c.chunk);
  EXPECT_EQ(none.nll.numel(), 0);
  EXPECT_TRUE((stale == 0.0).all().item<bool>());
}

TEST(LinearCrossEntropy, LargeLogitsStayFiniteAndNotANumberShows) {
  const Gemm gemm;
  Tensor x = at::tensor({1e4f, -1e4f}).view({2, 1});
  const Tensor weight = at::tensor({1.0f, -1.0f, 0.5f}).view({3, 1});
  const Tensor labels = at::tensor(std::vector<int64_t>{0, 0}, at::kLong);
  const auto out = linear_cross_entropy(x, weight, labels, at::ones({2}), nullptr, 3, gemm, 8);
  EXPECT_TRUE(at::equal(out.nll, at::tensor({0.0f, 2e4f})));
  EXPECT_TRUE(at::equal(out.dx.flatten(), at::tensor({0.0f, -2.0f})));
  const Tensor negative =
      at::tensor({-1.0f, -2.0f, -3.0f}).view({3, 1});  // the largest is the one nearest to zero
  const auto below =
      linear_cross_entropy(x.narrow(0, 0, 1), negative, labels.narrow(0, 0, 1), {}, nullptr, 3, gemm, 8);
  EXPECT_EQ(below.nll.item<float>(), 0.0f);
  x[1] = std::numeric_limits<float>::quiet_NaN();
  const auto bad = linear_cross_entropy(x, weight, labels, at::ones({2}), nullptr, 3, gemm, 8);
  EXPECT_EQ(bad.nll[0].item<float>(), 0.0f);
  EXPECT_TRUE(std::isnan(bad.nll[1].item<float>()));
  EXPECT_TRUE(std::isnan(bad.dx[1].item<float>()));
}

TEST(HeadLogits, AreTheProductWithoutPadding) {
  const Gemm gemm;
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat, at::kBFloat16}) {
    const Tensor x = random_tensor({3, 9}, 1, dtype);
    const Tensor weight = random_tensor({24, 9}, 2, dtype);
    const Tensor logits = head_logits(x, weight, 21, gemm);
    EXPECT_EQ(logits.scalar_type(), dtype == at::kDouble ? at::kDouble : at::kFloat);
    const Tensor exact = x.to(at::kDouble).matmul(weight.to(at::kDouble).t()).narrow(1, 0, 21);
    EXPECT_LE(relative_error(logits, exact), dtype == at::kDouble ? 1e-15 : 1e-6);
  }
}

TEST(ExpNonpositive, IsWithinTwoUlpAndEndsAtZero) {
  std::mt19937 random(7);
  std::uniform_real_distribution<float> uniform(-87.33f, 0.0f);
  double worst = 0.0;
  for (int i = 0; i < 200000; ++i) {
    const float x = i < 1000 ? -static_cast<float>(i) * 1e-6f : uniform(random);
    const double exact = std::exp(static_cast<double>(x));
    const auto rounded = static_cast<float>(exact);
    const double ulp = static_cast<double>(std::nextafter(rounded, 2.0f)) - static_cast<double>(rounded);
    worst = std::max(worst, std::abs(static_cast<double>(exp_nonpositive(x)) - exact) / ulp);
  }
  EXPECT_LT(worst, 2.0);
  EXPECT_EQ(exp_nonpositive(0.0f), 1.0f);
  EXPECT_EQ(exp_nonpositive(-88.0f), 0.0f);
  EXPECT_EQ(exp_nonpositive(-std::numeric_limits<float>::infinity()), 0.0f);
  EXPECT_TRUE(std::isnan(exp_nonpositive(std::numeric_limits<float>::quiet_NaN())));
}

TEST(LinearCrossEntropyDeathTest, RefusesWhatTheContractExcludes) {
  const Gemm gemm;
  const Tensor x = at::zeros({2, 4});
  const Tensor weight = at::zeros({8, 4});
  const Tensor labels = at::zeros({2}, at::kLong);
  Tensor grad = at::zeros_like(weight);
  GradSlot slot{grad, 0.0};
  EXPECT_DEATH(linear_cross_entropy(x, at::zeros({8, 5}), labels, {}, nullptr, 8, gemm, 1),
               "x 2x4 and weight 8x5");
  EXPECT_DEATH(linear_cross_entropy(x, weight, labels + 7, {}, nullptr, 7, gemm, 1),
               "labels 7 to 7 with 7 columns");
  EXPECT_DEATH(linear_cross_entropy(x, weight, labels - 2, {}, nullptr, 7, gemm, 1), "labels -2 to -2");
  EXPECT_DEATH(linear_cross_entropy(x, weight, labels, {}, &slot, 8, gemm, 1), "needs loss_weight");
  EXPECT_DEATH(linear_cross_entropy(x, weight, labels, {}, nullptr, 9, gemm, 1), "9 valid of 8 columns");
  EXPECT_DEATH(linear_cross_entropy(x, weight, labels, at::zeros({2}, at::kDouble), nullptr, 8, gemm, 1),
               "in the dtype of nll");
  EXPECT_DEATH(head_logits(x, weight, 9, gemm), "9 valid columns");
}

}  // namespace
}  // namespace phalanx::kernels
