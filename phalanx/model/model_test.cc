#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "phalanx/base/philox.h"
#include "phalanx/model/model.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx {
namespace {

ModelConfig small_config() {
  ModelConfig c;
  c.num_layers = 2;
  c.hidden_size = 8;
  c.num_attention_heads = 2;
  c.vocab_size = 30;
  c.make_vocab_size_divisible_by = 16;
  c.seq_length = 6;
  finalize(c);
  return c;
}

class ModelTest : public ::testing::Test {
 protected:
  kernels::Gemm gemm_;
  std::unique_ptr<comm::Group> group_ = comm::make_self_group("tp");
  Model make(const ModelConfig& c, ModelOptions options = {.dtype = at::kDouble, .seed = 11}) {
    return Model(c, options, gemm_, *group_);
  }
};

TEST_F(ModelTest, HoldsExactlyTheTable) {
  Model model = make(small_config());
  int64_t logical = 0;
  for (Parameter* p : model.parameters()) {
    for (const Segment& s : p->segments) logical += s.global_box.num_elements();
  }
  EXPECT_EQ(logical, model.table().num_parameters());
  EXPECT_EQ(model.find("embedding.token.weight")->data.size(0), 32) << "stored vocabulary is padded";
  EXPECT_EQ(model.find("head.weight"), nullptr) << "tied";
}

// Element e of a logical tensor is std * normal(seed, kInit, ordinal, e), wherever it is stored.
TEST_F(ModelTest, InitialValuesAreAPureFunctionOfTheLogicalElement) {
  Model model = make(small_config());
  int checked = 0;
  for (const FusedParameter& fused : model.table().parameters) {
    const Parameter* p = model.find(fused.name);
    for (size_t i = 0; i < fused.parts.size(); ++i) {
      const LogicalTensor& part = fused.parts[i];
      const Tensor values = view_of(p->data, p->segments[i].local_box).contiguous();
      const double* data = values.data_ptr<double>();
      const RandomKey key{.seed = 11, .purpose = RandomPurpose::kInit, .step = 0, .layer = part.ordinal};
      for (int64_t e = 0; e < values.numel(); e += 7) {
        const double want = part.init == InitKind::kNormal
                                ? part.init_std * philox_normal(key, static_cast<uint64_t>(e))
                                : (part.init == InitKind::kOne ? 1.0 : 0.0);
        ASSERT_DOUBLE_EQ(data[e], want) << part.name;
        ++checked;
      }
    }
  }
  EXPECT_GT(checked, 200);
  EXPECT_EQ(model.find("embedding.token.weight")->data.narrow(0, 30, 2).abs().max().item<double>(), 0.0)
      << "padding";
}

TEST_F(ModelTest, OtherSeedOtherWeights) {
  Model a = make(small_config()), b = make(small_config(), {.dtype = at::kDouble, .seed = 12});
  EXPECT_FALSE(at::equal(a.find("layers.1.mlp.down.weight")->data, b.find("layers.1.mlp.down.weight")->data));
}

// A wrong gradient anywhere shows up against finite differences of the whole model.
TEST_F(ModelTest, BackwardAgreesWithFiniteDifferences) {
  ModelConfig config = small_config();
  config.init_std = 0.3;
  Model model = make(config);
  Batch batch;
  batch.num_samples = 2;
  batch.seq_length = 6;
  batch.training = true;
  const auto options = at::TensorOptions(at::kLong);
  batch.token_id = at::arange(12, options);
  batch.tokens = (at::arange(12, options) * 7 + 3) % 30;
  batch.labels = (at::arange(12, options) * 11 + 5) % 30;
  batch.position = at::arange(12, options) % 6;
  batch.loss_weight = testing::random_tensor({12}, 3);
  const auto loss = [&] {
    Side side;
    Stash none = Stash::null();
    return (model.forward(batch, side, none) * batch.loss_weight).sum().item<double>();
  };
  for (Parameter* p : model.parameters()) p->main_grad = at::zeros_like(p->data);
  Side side;
  Stash stash;
  WeightGrads grads;
  model.forward(batch, side, stash);
  model.backward(batch.loss_weight, batch, side, stash, grads);
  for (Parameter* p : model.parameters()) {
    const Tensor direction = testing::random_tensor({p->data.numel()}, 9).view(p->data.sizes());
    const double h = 1e-5;
    const Tensor at_zero = p->data.clone();
    p->data.add_(direction, h);
    const double up = loss();
    p->data.copy_(at_zero).sub_(direction, h);
    const double down = loss();
    p->data.copy_(at_zero);
    const double want = (up - down) / (2 * h);
    EXPECT_NEAR((p->main_grad * direction).sum().item<double>(), want, 1e-6 * std::max(1.0, std::abs(want)))
        << p->name;
  }
}

}  // namespace
}  // namespace phalanx
