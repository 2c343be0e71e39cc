#include "phalanx/nn/residual.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "phalanx/nn/test_reference.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::nn {
namespace {

using phalanx::testing::random_tensor;
using testing::TestModel;
using testing::Values;

// Gives back what it is told, so that the sum and the dropout around it can be seen.
class Doubling : public Module {
 public:
  Tensor forward(const Tensor& x, const Batch&, Side&, Stash&) override { return 2.0 * x; }
  Tensor backward(const Tensor& dy, const Batch&, Side&, Stash&, WeightGrads&) override { return 2.0 * dy; }
  Tensor step(const Tensor& x, const Batch&, Side&, Cache&) override { return 2.0 * x; }
  void visit_parameters(const ParameterVisitor&) override {}
};

TEST(ResidualLayer, GradientsOfEveryInputMatchAutograd) {
  for (const double dropout : {0.0, 0.3}) {
    ModelConfig config = testing::tiny_config();
    config.hidden_dropout = dropout;
    TestModel model(config);
    const Batch batch = testing::make_batch(model.config());
    const ModulePtr layer = make_layer('-', 1, model.context());
    const auto reference = [&](const Tensor& x, const Values& values) {
      const Tensor branch = testing::reference_mlp(x, values, 1, model.config());
      return x + testing::reference_dropout(branch, batch, RandomPurpose::kHiddenDropout, 1, dropout);
    };
    EXPECT_EQ(testing::module_mismatch(model, *layer, batch, reference), "") << dropout;
  }
}

TEST(ResidualLayer, MaskDependsOnTheTokenNotOnTheRow) {
  ResidualLayer layer(std::make_unique<Doubling>(), 4, 12, 0.5);
  const ModelConfig config = testing::tiny_config();
  const Batch both = testing::make_batch(config, {.num_samples = 2, .first_sample = 0});
  const Batch second = testing::make_batch(config, {.num_samples = 1, .first_sample = 1});
  Side side;
  Stash stash;
  const Tensor x = at::ones({14, 12}, at::TensorOptions(at::kDouble));
  const Tensor y = layer.forward(x, both, side, stash);
  EXPECT_TRUE(y.narrow(0, 7, 7).equal(layer.forward(x.narrow(0, 0, 7), second, side, stash)));
  // Kept: 1 + 2 / (1 - p); dropped: 1.
  EXPECT_TRUE((y.eq(1.0) | y.eq(5.0)).all().item<bool>());
  const int64_t dropped = y.eq(1.0).sum().item<int64_t>();
  EXPECT_GT(dropped, 50);
  EXPECT_LT(dropped, 118);
}

TEST(ResidualLayer, LayersAndStepsHaveTheirOwnMasks) {
  const ModelConfig config = testing::tiny_config();
  Batch batch = testing::make_batch(config);
  Side side;
  Stash stash;
  const Tensor x = at::ones({14, 12}, at::TensorOptions(at::kDouble));
  ResidualLayer four(std::make_unique<Doubling>(), 4, 12, 0.5);
  ResidualLayer five(std::make_unique<Doubling>(), 5, 12, 0.5);
  const Tensor y = four.forward(x, batch, side, stash);
  EXPECT_FALSE(y.equal(five.forward(x, batch, side, stash)));
  ++batch.random.step;
  EXPECT_FALSE(y.equal(four.forward(x, batch, side, stash)));
}

TEST(ResidualLayer, NoDropoutInEvaluationAndInStep) {
  ResidualLayer layer(std::make_unique<Doubling>(), 4, 12, 0.5);
  Batch batch = testing::make_batch(testing::tiny_config());
  const Tensor x = random_tensor({14, 12}, 3);
  Side side;
  Stash stash;
  Cache cache({}, 4, at::TensorOptions(at::kDouble));
  EXPECT_TRUE(layer.step(x, batch, side, cache).equal(2.0 * x + x));
  batch.training = false;
  EXPECT_TRUE(layer.forward(x, batch, side, stash).equal(2.0 * x + x));
}

}  // namespace
}  // namespace phalanx::nn
