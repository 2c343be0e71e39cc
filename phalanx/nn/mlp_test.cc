#include "phalanx/nn/mlp.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "phalanx/nn/test_reference.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::nn {
namespace {

using testing::TestModel;
using testing::Values;

constexpr ActivationKind kAllActivations[] = {ActivationKind::kGelu, ActivationKind::kGeluTanh,
                                              ActivationKind::kSwiglu, ActivationKind::kGeglu,
                                              ActivationKind::kSquaredRelu};

std::unique_ptr<Mlp> make_mlp(TestModel& model) {
  const BuildContext context = model.context();
  const auto linear = [&](const std::string& name) {
    return Linear(context.parameter(name + ".weight"), context.parameter(name + ".bias"),
                  ShardRule::kReplicated, context.tensor_group, context.gemm);
  };
  const ActivationKind kind = model.config().activation;
  return std::make_unique<Mlp>(
      Norm(model.find("layers.1.norm.weight"), model.find("layers.1.norm.bias"), norm_spec(model.config())),
      linear(is_gated(kind) ? "layers.1.mlp.gate_up" : "layers.1.mlp.up"), linear("layers.1.mlp.down"), kind);
}

TEST(Mlp, GradientsOfEveryInputMatchAutograd) {
  for (const ActivationKind kind : kAllActivations) {
    for (const bool bias : {false, true}) {
      ModelConfig config = testing::tiny_config();
      config.activation = kind;
      config.bias = bias;
      TestModel model(config);
      const auto mlp = make_mlp(model);
      const auto reference = [&](const Tensor& x, const Values& values) {
        return testing::reference_mlp(x, values, 1, model.config());
      };
      EXPECT_EQ(testing::module_mismatch(model, *mlp, testing::make_batch(model.config()), reference), "")
          << "activation " << static_cast<int>(kind) << " bias " << bias;
    }
  }
}

TEST(Mlp, StashHoldsInputStatisticsAndPreActivationOnly) {
  for (const ActivationKind kind : {ActivationKind::kGelu, ActivationKind::kSwiglu}) {
    ModelConfig config = testing::tiny_config();
    config.activation = kind;
    TestModel model(config);
    const auto mlp = make_mlp(model);
    const Batch batch = testing::make_batch(model.config());
    const Tensor x = phalanx::testing::random_tensor({14, 12}, 3);
    Side side;
    Stash stash;
    mlp->forward(x, batch, side, stash);
    EXPECT_EQ(stash.bytes(), 8 * 14 * (12 + 2 + (is_gated(kind) ? 20 : 10)));
    Stash none = Stash::null();
    mlp->forward(x, batch, side, none);
    EXPECT_TRUE(none.empty());
  }
}

}  // namespace
}  // namespace phalanx::nn
