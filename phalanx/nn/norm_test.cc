#include "phalanx/nn/norm.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "phalanx/nn/test_reference.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::nn {
namespace {

using phalanx::testing::random_tensor;
using testing::TestModel;
using testing::Values;

TEST(FinalNorm, GradientsOfEveryInputMatchAutograd) {
  for (const NormKind kind : {NormKind::kLayerNorm, NormKind::kRmsNorm}) {
    for (const bool one_plus : {false, true}) {
      ModelConfig config = testing::tiny_config();
      config.normalization = kind;
      config.norm_1p = one_plus;
      TestModel model(config);
      const ModulePtr norm = make_final_norm(model.context());
      const auto reference = [&](const Tensor& x, const Values& values) {
        return testing::reference_norm(x, values, "final_norm", config);
      };
      EXPECT_EQ(testing::module_mismatch(model, *norm, testing::make_batch(model.config()), reference), "");
    }
  }
}

TEST(FinalNorm, StepIsForward) {
  TestModel model(testing::tiny_config());
  const ModulePtr norm = make_final_norm(model.context());
  const Tensor x = random_tensor({3, 12}, 9);
  Side side;
  Cache cache({}, 4, at::TensorOptions(at::kDouble));
  Stash stash;
  const Batch batch = testing::make_batch(model.config());
  EXPECT_TRUE(norm->step(x, batch, side, cache).equal(norm->forward(x, batch, side, stash)));
}

TEST(Norm, HandleRebuildsTheOutputBitForBitAndHoldsNothingMore) {
  TestModel model(testing::tiny_config());
  Parameter* weight = model.find("final_norm.weight");
  const Norm norm(weight, model.find("final_norm.bias"), norm_spec(model.config()));
  const Tensor x = random_tensor({5, 12}, 9);
  Stash stash;
  const Norm::Output output = norm.forward(x, stash);
  const int64_t bytes = stash.bytes();
  EXPECT_EQ(bytes, 8 * (5 * 12 + 5 + 5));  // x, mean, rstd
  norm.push_output(output, stash);
  EXPECT_EQ(stash.bytes(), bytes) << "a handle holds no second copy";
  const Tensor rebuilt = stash.pop();
  EXPECT_TRUE(rebuilt.equal(output.y));
  EXPECT_FALSE(rebuilt.is_alias_of(output.y));
}

TEST(Norm, RebuiltOutputRunsTheFollowUpInPlace) {
  TestModel model(testing::tiny_config());
  const Norm norm(model.find("final_norm.weight"), nullptr, norm_spec(model.config()));
  Stash stash;
  const Norm::Output output = norm.forward(random_tensor({5, 12}, 9), stash);
  norm.push_output(output, stash, [](Tensor& y) { y.mul_(-2.0); });
  EXPECT_TRUE(stash.pop().equal(output.y * -2.0));
}

TEST(Norm, FrozenParametersGetNothing) {
  TestModel model(testing::tiny_config());
  Parameter* weight = model.find("final_norm.weight");
  Parameter* bias = model.find("final_norm.bias");
  weight->trainable = false;
  const Norm norm(weight, bias, norm_spec(model.config()));
  Stash stash;
  norm.forward(random_tensor({5, 12}, 9), stash);
  WeightGrads grads;
  norm.backward(random_tensor({5, 12}, 10), stash, grads);
  EXPECT_FALSE(weight->has_grad);
  EXPECT_TRUE(weight->main_grad.isnan().all().item<bool>());
  EXPECT_TRUE(bias->has_grad);
  EXPECT_FALSE(bias->main_grad.isnan().any().item<bool>());
}

}  // namespace
}  // namespace phalanx::nn
