#include "phalanx/nn/autograd_module.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include "phalanx/base/error.h"
#include "phalanx/nn/recompute.h"
#include "phalanx/nn/test_reference.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::nn {
namespace {

using phalanx::testing::random_tensor;
using phalanx::testing::relative_error;
using testing::TestModel;
using testing::Values;

// The plain MLP branch of the reference, as a research layer.
AutogradModule make_research_mlp(TestModel& model) {
  std::vector<Parameter*> parameters;
  for (const char* name :
       {"norm.weight", "norm.bias", "mlp.up.weight", "mlp.up.bias", "mlp.down.weight", "mlp.down.bias"}) {
    parameters.push_back(model.find(std::string("layers.1.") + name));
  }
  const auto function = [&model, parameters](const Tensor& x, const std::vector<Tensor>& in, const Batch&) {
    Values values;
    for (size_t i = 0; i < in.size(); ++i) values[parameters[i]->name] = in[i];
    return testing::reference_mlp(x, values, 1, model.config());
  };
  return AutogradModule(function, parameters);
}

TEST(AutogradModule, AgreesWithTheHandWrittenBackward) {
  TestModel by_hand(testing::tiny_config());
  TestModel by_tape(testing::tiny_config());
  const ModulePtr explicit_layer = make_layer('-', 1, by_hand.context());
  AutogradModule research = make_research_mlp(by_tape);
  const Batch batch = testing::make_batch(by_hand.config());
  const Tensor x = random_tensor({14, 12}, 1);
  const Tensor dy = random_tensor({14, 12}, 2);
  const c10::NoGradGuard no_grad;
  Side side;
  Stash stash;
  WeightGrads grads;
  const Tensor y = explicit_layer->forward(x, batch, side, stash) - x;
  const Tensor dx = explicit_layer->backward(dy, batch, side, stash, grads) - dy;
  const Tensor tape_y = research.forward(x, batch, side, stash);
  EXPECT_EQ(stash.bytes(), 8 * 14 * 12) << "no hidden graph: x is all that is kept";
  const Tensor tape_dx = research.backward(dy, batch, side, stash, grads);
  EXPECT_TRUE(stash.empty());
  EXPECT_FALSE(tape_y.requires_grad() || tape_dx.requires_grad());
  EXPECT_LT(relative_error(tape_y, y), 1e-12);
  EXPECT_LT(relative_error(tape_dx, dx), 1e-10);
  int compared = 0;
  research.visit_parameters([&](Parameter& parameter) {
    EXPECT_LT(relative_error(parameter.main_grad, by_hand.find(parameter.name)->main_grad), 1e-10)
        << parameter.name;
    ++compared;
  });
  EXPECT_EQ(compared, 6);
}

TEST(AutogradModule, FrozenAndUnusedParameters) {
  TestModel model(testing::tiny_config());
  Parameter* frozen = model.find("layers.1.norm.weight");
  Parameter* unused = model.find("layers.1.norm.bias");
  Parameter* used = model.find("final_norm.weight");
  frozen->trainable = false;
  AutogradModule module(
      [](const Tensor& x, const std::vector<Tensor>& w, const Batch&) { return x * w[0] * w[2]; },
      {frozen, unused, used});
  const Batch batch = testing::make_batch(model.config());
  const Tensor x = random_tensor({14, 12}, 1);
  const Tensor dy = random_tensor({14, 12}, 2);
  const c10::NoGradGuard no_grad;
  Side side;
  Stash stash;
  WeightGrads grads;
  module.forward(x, batch, side, stash);
  const Tensor dx = module.backward(dy, batch, side, stash, grads);
  EXPECT_LT(relative_error(dx, dy * frozen->data * used->data), 1e-14);
  EXPECT_FALSE(frozen->has_grad);
  EXPECT_EQ(unused->main_grad.abs().max().item<double>(), 0.0);
  EXPECT_LT(relative_error(used->main_grad, (dy * x * frozen->data).sum(0)), 1e-14);
}

TEST(AutogradModule, NeverReturnsWhatItWasGiven) {
  AutogradModule identity([](const Tensor& x, const std::vector<Tensor>&, const Batch&) { return x; }, {});
  const c10::NoGradGuard no_grad;
  const Batch batch = testing::make_batch(testing::tiny_config());
  const Tensor x = random_tensor({14, 12}, 1);
  const Tensor dy = random_tensor({14, 12}, 2);
  Side side;
  Stash stash;
  WeightGrads grads;
  EXPECT_FALSE(identity.forward(x, batch, side, stash).is_alias_of(x));
  const Tensor dx = identity.backward(dy, batch, side, stash, grads);
  EXPECT_FALSE(dx.is_alias_of(dy));
  EXPECT_TRUE(dx.equal(dy));
}

TEST(AutogradModule, WithoutAStepItCannotGenerate) {
  AutogradModule module([](const Tensor& x, const std::vector<Tensor>&, const Batch&) { return x; }, {});
  const Batch batch = testing::make_batch(testing::tiny_config());
  Side side;
  Cache cache({}, 4, at::TensorOptions(at::kDouble));
  try {
    module.step(random_tensor({2, 12}, 1), batch, side, cache);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_STREQ(
        error.what(),
        "generate: got a research layer without a cached step; needed a step function for every layer of the "
        "model. Fix: give AutogradModule a step, or score whole sequences instead");
  }
  AutogradModule with_step(
      nullptr, {}, [](const Tensor& x, const std::vector<Tensor>&, const Batch&, Cache&) { return x + 1.0; });
  const Tensor x = random_tensor({2, 12}, 1);
  EXPECT_TRUE(with_step.step(x, batch, side, cache).equal(x + 1.0));
}

}  // namespace
}  // namespace phalanx::nn
