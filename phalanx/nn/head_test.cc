#include "phalanx/nn/head.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "phalanx/nn/test_reference.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::nn {
namespace {

using phalanx::testing::autograd_gradients;
using phalanx::testing::random_tensor;
using phalanx::testing::relative_error;
using testing::TestModel;

struct Fixture {
  Fixture() : model(config()), batch(testing::make_batch(model.config())) {}
  static ModelConfig config() {
    ModelConfig config = testing::tiny_config();
    config.tied_embeddings = false;
    return config;
  }
  Tensor plain_nll(const Tensor& x, const Tensor& w) const {
    const Tensor logits = testing::reference_logits(x, {{"head.weight", w}}, model.config());
    const Tensor labels = batch.labels.clamp_min(0).unsqueeze(1);
    return -logits.log_softmax(1).gather(1, labels).squeeze(1) * batch.labels.ge(0);
  }
  std::vector<Tensor> plain_gradients() const {
    const auto f = [&](const std::vector<Tensor>& in) {
      return std::vector<Tensor>{plain_nll(in[0], in[1])};
    };
    return autograd_gradients(f, {x, weight->data}, {batch.loss_weight});
  }

  TestModel model;
  Batch batch;
  Parameter* weight = model.find("head.weight");
  Tensor x = random_tensor({14, 12}, 3);
  kernels::Gemm gemm;
  std::unique_ptr<comm::Group> group = comm::make_self_group("tensor");
  Side side;
  Stash stash;
  WeightGrads grads;
};

TEST(LossHead, GradientsMatchAutogradForEveryChunking) {
  for (const int64_t chunk : {1, 4, 14, 512}) {
    Fixture f;
    LossHead head(f.weight, 11, f.gemm, *f.group, chunk);
    const Tensor nll = head.forward(f.x, f.batch, f.side, f.stash);
    EXPECT_LT(relative_error(nll, f.plain_nll(f.x, f.weight->data)), 1e-12);
    const Tensor dx = head.backward(f.batch.loss_weight, f.batch, f.side, f.stash, f.grads);
    const std::vector<Tensor> want = f.plain_gradients();
    EXPECT_LT(relative_error(dx, want[0]), 1e-10);
    EXPECT_LT(relative_error(f.weight->main_grad, want[1]), 1e-10);
    EXPECT_TRUE(f.weight->has_grad);
    EXPECT_TRUE(f.stash.empty());
    // Rows of the padded vocabulary have no logits, so no gradient either.
    EXPECT_EQ(f.weight->main_grad.narrow(0, 11, 5).abs().max().item<double>(), 0.0);
  }
}

TEST(LossHead, RowsThatDoNotCountAreLeftOut) {
  for (const std::vector<int64_t>& counting : {std::vector<int64_t>{2, 7, 11}, std::vector<int64_t>{}}) {
    Fixture f;
    Tensor keeps = at::zeros({14}, f.batch.loss_weight.options());
    for (const int64_t row : counting) keeps[row] = 1;
    f.batch.loss_weight = f.batch.loss_weight.clamp_min(0.1) * keeps;
    LossHead head(f.weight, 11, f.gemm, *f.group, /*chunk_rows=*/2);
    const Tensor nll = head.forward(f.x, f.batch, f.side, f.stash);
    EXPECT_LT((nll - f.plain_nll(f.x, f.weight->data) * keeps).abs().max().item<double>(), 1e-12);
    const Tensor dx = head.backward(f.batch.loss_weight, f.batch, f.side, f.stash, f.grads);
    const std::vector<Tensor> want = f.plain_gradients();
    EXPECT_LT((dx - want[0]).abs().max().item<double>(), 1e-12);
    EXPECT_LT((f.weight->main_grad - want[1]).abs().max().item<double>(), 1e-12);
    EXPECT_TRUE(f.weight->has_grad);
  }
}

TEST(LossHead, SecondMicroBatchAdds) {
  Fixture f;
  LossHead head(f.weight, 11, f.gemm, *f.group);
  for (int i = 0; i < 2; ++i) {
    head.forward(f.x, f.batch, f.side, f.stash);
    head.backward(f.batch.loss_weight, f.batch, f.side, f.stash, f.grads);
  }
  EXPECT_LT(relative_error(f.weight->main_grad, 2.0 * f.plain_gradients()[1]), 1e-10);
}

TEST(LossHead, CountsTheUseOfItsWeightInBackward) {
  Fixture f;
  LossHead head(f.weight, 11, f.gemm, *f.group);
  std::vector<std::string> applied;
  f.grads.on_applied = [&](Parameter& parameter) { applied.push_back(parameter.name); };
  head.forward(f.x, f.batch, f.side, f.stash);
  EXPECT_TRUE(applied.empty());
  head.backward(f.batch.loss_weight, f.batch, f.side, f.stash, f.grads);
  EXPECT_EQ(applied, std::vector<std::string>{"head.weight"});
}

TEST(LossHead, FrozenWeightGetsNothingButDxIsThere) {
  Fixture f;
  f.weight->trainable = false;
  LossHead head(f.weight, 11, f.gemm, *f.group);
  bool applied = false;
  f.grads.on_applied = [&](Parameter&) { applied = true; };
  head.forward(f.x, f.batch, f.side, f.stash);
  const Tensor dx = head.backward(f.batch.loss_weight, f.batch, f.side, f.stash, f.grads);
  EXPECT_LT(relative_error(dx, f.plain_gradients()[0]), 1e-10);
  EXPECT_FALSE(f.weight->has_grad || applied);
  EXPECT_TRUE(f.weight->main_grad.isnan().all().item<bool>());
}

TEST(LossHead, WithoutStashOrWeightsOnlyTheLoss) {
  Fixture f;
  LossHead head(f.weight, 11, f.gemm, *f.group);
  const Tensor want = f.plain_nll(f.x, f.weight->data);
  Stash none = Stash::null();
  EXPECT_LT(relative_error(head.forward(f.x, f.batch, f.side, none), want), 1e-12);
  f.batch.loss_weight = Tensor();
  EXPECT_LT(relative_error(head.forward(f.x, f.batch, f.side, f.stash), want), 1e-12);
  EXPECT_TRUE(f.stash.empty());
  EXPECT_FALSE(f.weight->has_grad);
  EXPECT_TRUE(f.weight->main_grad.isnan().all().item<bool>());
}

TEST(LossHead, StepGivesLogitsOfTheTrueVocabulary) {
  Fixture f;
  LossHead head(f.weight, 11, f.gemm, *f.group);
  Cache cache({}, 4, at::TensorOptions(at::kDouble));
  const Tensor logits = head.step(f.x, f.batch, f.side, cache);
  EXPECT_EQ(logits.sizes(), (at::IntArrayRef{14, 11}));
  EXPECT_LT(relative_error(logits, f.x.matmul(f.weight->data.narrow(0, 0, 11).t())), 1e-13);
}

TEST(LossHeadDeathTest, ForeignGradientIsABug) {
  Fixture f;
  LossHead head(f.weight, 11, f.gemm, *f.group);
  head.forward(f.x, f.batch, f.side, f.stash);
  EXPECT_DEATH(head.backward(f.batch.loss_weight.narrow(0, 0, 7), f.batch, f.side, f.stash, f.grads),
               "the head's dy is the batch's loss_weight");
}

#ifdef PHALANX_DEBUG
TEST(LossHeadDeathTest, OtherValuesAreABugInDebugBuilds) {
  Fixture f;
  LossHead head(f.weight, 11, f.gemm, *f.group);
  head.forward(f.x, f.batch, f.side, f.stash);
  EXPECT_DEATH(head.backward(2.0 * f.batch.loss_weight, f.batch, f.side, f.stash, f.grads),
               "the head's dy is the batch's loss_weight");
}
#endif

}  // namespace
}  // namespace phalanx::nn
