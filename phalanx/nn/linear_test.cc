#include "phalanx/nn/linear.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <cmath>

#include "phalanx/nn/test_groups.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::nn {
namespace {

using phalanx::testing::autograd_gradients;
using phalanx::testing::random_tensor;
using phalanx::testing::relative_error;

// A group of two whose other rank always has the same as this one, and which writes down what it was asked.
class DoublingGroup : public testing::OneSidedGroup {
 public:
  comm::WorkPtr start_all_reduce(Tensor tensor, comm::ReduceOp op) override {
    EXPECT_EQ(op, comm::ReduceOp::kSum);
    EXPECT_TRUE(tensor.is_contiguous());
    reduced.push_back(tensor.clone());
    tensor.mul_(2.0);
    return done();
  }

  std::vector<Tensor> reduced;
};

Parameter make_parameter(std::vector<int64_t> shape, uint64_t seed) {
  Parameter parameter;
  parameter.name = "p" + std::to_string(seed);
  parameter.data = random_tensor(std::move(shape), seed);
  parameter.main_grad = at::full_like(parameter.data, std::nan(""));
  return parameter;
}

struct Fixture {
  Parameter weight = make_parameter({5, 3}, 1);
  Parameter bias = make_parameter({5}, 2);
  Tensor x = random_tensor({4, 3}, 3);
  Tensor dy = random_tensor({4, 5}, 4);
  kernels::Gemm gemm;
  std::unique_ptr<comm::Group> self = comm::make_self_group("tensor");
};

std::vector<Tensor> expected(const Fixture& f, bool with_bias) {
  const auto plain = [](const std::vector<Tensor>& in) {
    const Tensor y = in[0].matmul(in[1].t());
    return std::vector<Tensor>{in[2].defined() ? y + in[2] : y};
  };
  return autograd_gradients(plain, {f.x, f.weight.data, with_bias ? f.bias.data : Tensor()}, {f.dy});
}

TEST(Linear, GradientsOfEveryInputMatchAutograd) {
  for (const bool with_bias : {false, true}) {
    Fixture f;
    const Linear linear(&f.weight, with_bias ? &f.bias : nullptr, ShardRule::kReplicated, *f.self, f.gemm);
    const Tensor y = linear.forward(f.x);
    const Tensor product = f.x.matmul(f.weight.data.t());
    EXPECT_LT(relative_error(y, with_bias ? product + f.bias.data : product), 1e-14);

    WeightGrads grads;
    const Tensor dx = linear.backward(f.dy, f.x, grads);
    const std::vector<Tensor> want = expected(f, with_bias);
    EXPECT_LT(relative_error(dx, want[0]), 1e-10);
    EXPECT_LT(relative_error(f.weight.main_grad, want[1]), 1e-10);
    if (with_bias) {
      EXPECT_LT(relative_error(f.bias.main_grad, want[2]), 1e-10);
    }
    EXPECT_EQ(f.bias.has_grad, with_bias);
  }
}

TEST(Linear, SecondContributionAdds) {
  Fixture f;
  const Linear linear(&f.weight, &f.bias, ShardRule::kReplicated, *f.self, f.gemm);
  WeightGrads grads;
  linear.backward(f.dy, f.x, grads);
  linear.backward(f.dy, f.x, grads);
  const std::vector<Tensor> want = expected(f, true);
  EXPECT_LT(relative_error(f.weight.main_grad, 2.0 * want[1]), 1e-10);
  EXPECT_LT(relative_error(f.bias.main_grad, 2.0 * want[2]), 1e-10);
}

TEST(Linear, DeferredWeightGradientWaitsAndHoldsItsInputs) {
  Fixture f;
  const Linear linear(&f.weight, &f.bias, ShardRule::kReplicated, *f.self, f.gemm);
  WeightGrads grads(WeightGrads::Mode::kDefer);
  linear.backward(f.dy, f.x, grads);
  EXPECT_FALSE(f.weight.has_grad);
  EXPECT_EQ(grads.deferred_bytes(), 8 * (4 * 3 + 4 * 5));
  grads.run_deferred();
  EXPECT_EQ(grads.deferred_bytes(), 0);
  EXPECT_LT(relative_error(f.weight.main_grad, expected(f, true)[1]), 1e-10);
}

TEST(Linear, FrozenParametersGetNothing) {
  Fixture f;
  f.weight.trainable = false;
  f.bias.trainable = false;
  const Linear linear(&f.weight, &f.bias, ShardRule::kReplicated, *f.self, f.gemm);
  EXPECT_LT(relative_error(linear.forward(f.x), f.x.matmul(f.weight.data.t()) + f.bias.data), 1e-14);
  WeightGrads grads;
  EXPECT_LT(relative_error(linear.backward(f.dy, f.x, grads), expected(f, true)[0]), 1e-10);
  EXPECT_FALSE(f.weight.has_grad || f.bias.has_grad);
  EXPECT_TRUE(f.weight.main_grad.isnan().all().item<bool>());
  EXPECT_TRUE(f.bias.main_grad.isnan().all().item<bool>());
}

TEST(Linear, RowRuleSumsTheOutputAndAddsTheBiasOnce) {
  Fixture f;
  DoublingGroup group;
  const Linear linear(&f.weight, &f.bias, ShardRule::kRow, group, f.gemm);
  const Tensor product = f.x.matmul(f.weight.data.t());
  EXPECT_LT(relative_error(linear.forward(f.x), 2.0 * product + f.bias.data), 1e-14);
  ASSERT_EQ(group.reduced.size(), 1u);
  EXPECT_LT(relative_error(group.reduced[0], product), 1e-14);
  WeightGrads grads;
  linear.backward(f.dy, f.x, grads);
  EXPECT_EQ(group.reduced.size(), 1u) << "backward of a row-parallel linear has no collective";
}

TEST(Linear, ColumnRuleSumsTheInputGradient) {
  Fixture f;
  DoublingGroup group;
  const Linear linear(&f.weight, &f.bias, ShardRule::kColumn, group, f.gemm);
  linear.forward(f.x);
  EXPECT_TRUE(group.reduced.empty()) << "forward of a column-parallel linear has no collective";
  WeightGrads grads;
  const Tensor dx = linear.backward(f.dy, f.x, grads);
  ASSERT_EQ(group.reduced.size(), 1u);
  EXPECT_LT(relative_error(dx, 2.0 * expected(f, true)[0]), 1e-10);
  EXPECT_LT(relative_error(f.weight.main_grad, expected(f, true)[1]), 1e-10) << "dW is local";
}

TEST(Linear, HalfActivationsSumTheirGradientsInFloat) {
  Fixture f;
  const std::vector<Tensor> want = expected(f, true);
  for (Parameter* parameter : {&f.weight, &f.bias}) {
    parameter->data = parameter->data.to(at::kBFloat16);
    parameter->main_grad = parameter->main_grad.to(at::kFloat);
  }
  const Linear linear(&f.weight, &f.bias, ShardRule::kReplicated, *f.self, f.gemm);
  EXPECT_EQ(linear.forward(f.x.to(at::kBFloat16)).scalar_type(), at::kBFloat16);
  WeightGrads grads;
  const Tensor dx = linear.backward(f.dy.to(at::kBFloat16), f.x.to(at::kBFloat16), grads);
  EXPECT_EQ(dx.scalar_type(), at::kBFloat16);
  EXPECT_EQ(f.weight.main_grad.scalar_type(), at::kFloat);
  EXPECT_LT(relative_error(dx, want[0]), 2e-2);
  EXPECT_LT(relative_error(f.weight.main_grad, want[1]), 2e-2);
  // Summed in fp32 from bf16 rows: only the rounding of dy itself is left.
  EXPECT_LT(relative_error(f.bias.main_grad, f.dy.to(at::kBFloat16).to(at::kDouble).sum(0)), 1e-6);
}

}  // namespace
}  // namespace phalanx::nn
