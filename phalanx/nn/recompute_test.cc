#include "phalanx/nn/recompute.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "phalanx/nn/test_reference.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::nn {
namespace {

using testing::TestModel;

ModelConfig config_with_everything() {
  ModelConfig config = testing::tiny_config();
  config.pattern = "*-*-";
  config.num_query_groups = 2;
  config.qk_norm = true;
  config.hidden_dropout = 0.1;
  config.attention_dropout = 0.2;
  return config;
}

// The bits of loss and gradients do not depend on recomputation, in any dtype, whatever is wrapped.
TEST(Recompute, BitEqualToNotRecomputing) {
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat, at::kBFloat16}) {
    TestModel plain(config_with_everything(), dtype);
    TestModel again(config_with_everything(), dtype);
    std::vector<ModulePtr> plain_modules = plain.build();
    std::vector<ModulePtr> again_modules =
        again.build([](ModulePtr module) { return std::make_unique<Recompute>(std::move(module)); });
    const Batch batch = testing::make_batch(
        plain.config(), {.documents = true, .loss_dtype = plain.parameters()[0]->main_grad.scalar_type()});
    Stash plain_stash, again_stash;
    const Tensor nll = testing::run_forward(plain_modules, batch, plain_stash);
    EXPECT_TRUE(nll.equal(testing::run_forward(again_modules, batch, again_stash)));
    EXPECT_LT(again_stash.bytes(), plain_stash.bytes() / 3);
    // The inputs of four layers, of the final norm and of the head.
    EXPECT_EQ(again_stash.bytes(), 6 * 14 * 12 * static_cast<int64_t>(c10::elementSize(dtype)));
    WeightGrads grads;
    testing::run_backward(plain_modules, batch, plain_stash, grads);
    testing::run_backward(again_modules, batch, again_stash, grads);
    EXPECT_TRUE(plain_stash.empty() && again_stash.empty());
    for (Parameter* parameter : plain.parameters()) {
      EXPECT_FALSE(parameter->main_grad.isnan().any().item<bool>()) << parameter->name;
      EXPECT_TRUE(parameter->main_grad.equal(again.find(parameter->name)->main_grad)) << parameter->name;
    }
  }
}

TEST(Recompute, InputGradientIsBitEqual) {
  TestModel model(config_with_everything());
  const ModulePtr plain = make_layer('*', 2, model.context());
  Recompute again(make_layer('*', 2, model.context()));
  const Batch batch = testing::make_batch(model.config());
  const Tensor x = phalanx::testing::random_tensor({14, 12}, 3);
  const Tensor dy = phalanx::testing::random_tensor({14, 12}, 4);
  Side side;
  Stash stash;
  WeightGrads grads;
  plain->forward(x, batch, side, stash);
  const Tensor dx = plain->backward(dy, batch, side, stash, grads);
  again.forward(x, batch, side, stash);
  EXPECT_EQ(stash.size(), 1u);
  EXPECT_TRUE(again.backward(dy, batch, side, stash, grads).equal(dx));
  Stash none = Stash::null();
  again.forward(x, batch, side, none);
  EXPECT_TRUE(none.empty());
}

// A backward that pops less than its forward pushed is found where it happens.
class Forgetful : public Module {
 public:
  Tensor forward(const Tensor& x, const Batch&, Side&, Stash& stash) override {
    stash.push(x, "forgotten");
    return x + 1.0;
  }
  Tensor backward(const Tensor& dy, const Batch&, Side&, Stash&, WeightGrads&) override { return dy + 0.0; }
  Tensor step(const Tensor& x, const Batch&, Side&, Cache&) override { return x + 2.0; }
  void visit_parameters(const ParameterVisitor&) override {}
};

TEST(Recompute, StepIsTheInnerStep) {
  Recompute module(std::make_unique<Forgetful>());
  Side side;
  Cache cache({}, 4, at::TensorOptions(at::kDouble));
  const Tensor x = phalanx::testing::random_tensor({3, 2}, 4);
  EXPECT_TRUE(module.step(x, {}, side, cache).equal(x + 2.0));
}

TEST(RecomputeDeathTest, UnbalancedInnerModuleIsABug) {
  Recompute module(std::make_unique<Forgetful>());
  Side side;
  Stash stash;
  WeightGrads grads;
  const Tensor x = phalanx::testing::random_tensor({3, 2}, 4);
  module.forward(x, {}, side, stash);
  EXPECT_DEATH(module.backward(x, {}, side, stash, grads), "popped less than forward pushed");
}

}  // namespace
}  // namespace phalanx::nn
