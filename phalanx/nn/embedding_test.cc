#include "phalanx/nn/embedding.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "phalanx/nn/test_reference.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::nn {
namespace {

using phalanx::testing::random_tensor;
using testing::TestModel;
using testing::Values;

TEST(Embedding, GradientsOfEveryParameterMatchAutograd) {
  for (const PositionKind kind : {PositionKind::kLearnedAbsolute, PositionKind::kNone}) {
    for (const double dropout : {0.0, 0.3}) {
      ModelConfig config = testing::tiny_config();
      config.position_embedding = kind;
      config.hidden_dropout = dropout;
      TestModel model(config);
      const Batch batch = testing::make_batch(model.config(), {.documents = true});
      const ModulePtr embedding = make_embedding(model.context());
      // dx of the first module is undefined; the harness wants one, so a zero input stands in for it.
      struct Adapter : Module {
        Module& inner;
        explicit Adapter(Module& m) : inner(m) {}
        Tensor forward(const Tensor&, const Batch& b, Side& side, Stash& stash) override {
          return inner.forward({}, b, side, stash);
        }
        Tensor backward(const Tensor& dy, const Batch& b, Side& side, Stash& stash, WeightGrads& g) override {
          EXPECT_FALSE(inner.backward(dy, b, side, stash, g).defined());
          return at::zeros_like(dy);
        }
        Tensor step(const Tensor&, const Batch&, Side&, Cache&) override { return {}; }
        void visit_parameters(const ParameterVisitor& visit) override { inner.visit_parameters(visit); }
      } adapter(*embedding);
      const auto reference = [&](const Tensor&, const Values& values) {
        return testing::reference_embedding(values, model.config(), batch);
      };
      EXPECT_EQ(testing::module_mismatch(model, adapter, batch, reference), "") << dropout;
    }
  }
}

TEST(Embedding, AddsToWhatATiedHeadHasWritten) {
  TestModel model(testing::tiny_config());
  const Batch batch = testing::make_batch(model.config());
  const ModulePtr embedding = make_embedding(model.context());
  Side side;
  Stash stash;
  WeightGrads grads;
  const Tensor dy = random_tensor({14, 12}, 4);
  embedding->backward(dy, batch, side, stash, grads);
  Parameter* weight = model.find("embedding.token.weight");
  const Tensor alone = weight->main_grad.clone();
  weight->main_grad.fill_(2.0);  // has_grad is set: this counts as an earlier contribution
  embedding->backward(dy, batch, side, stash, grads);
  EXPECT_LT(phalanx::testing::relative_error(weight->main_grad, alone + 2.0), 1e-14);
}

TEST(Embedding, DeferredGradientWaits) {
  TestModel model(testing::tiny_config());
  const Batch batch = testing::make_batch(model.config());
  const ModulePtr embedding = make_embedding(model.context());
  Side side;
  Stash stash;
  WeightGrads grads(WeightGrads::Mode::kDefer);
  embedding->backward(random_tensor({14, 12}, 4), batch, side, stash, grads);
  EXPECT_FALSE(model.find("embedding.token.weight")->has_grad);
  EXPECT_GT(grads.deferred_bytes(), 0);
  grads.run_deferred();
  EXPECT_TRUE(model.find("embedding.token.weight")->has_grad);
  EXPECT_FALSE(model.find("embedding.position.weight")->main_grad.isnan().any().item<bool>());
}

}  // namespace
}  // namespace phalanx::nn
