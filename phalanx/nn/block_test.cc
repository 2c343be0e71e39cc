// Whole small models: every combination of options against autograd, accumulation, frozen weights, split weight
// gradients, half precision, and the memory formula of a block.
#include "phalanx/nn/block.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <set>

#include "phalanx/base/error.h"
#include "phalanx/nn/test_reference.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::nn {
namespace {

using phalanx::testing::relative_error;
using testing::TestModel;
using testing::Values;

void train(std::vector<ModulePtr>& modules, const Batch& batch, WeightGrads& grads) {
  Stash stash;
  testing::run_forward(modules, batch, stash);
  testing::run_backward(modules, batch, stash, grads);
  EXPECT_TRUE(stash.empty());
}

Tensor loss_of(const Values& values, const ModelConfig& config, const Batch& batch) {
  return (testing::reference_nll(values, config, batch) * batch.loss_weight).sum();
}

std::string model_mismatch(const ModelConfig& config, const testing::BatchOptions& options) {
  TestModel model(config);
  std::vector<ModulePtr> modules = model.build();
  const Batch batch = testing::make_batch(model.config(), options);
  Stash none = Stash::null();
  Values values;
  for (const Parameter* parameter : model.parameters()) values[parameter->name] = parameter->data;
  const double error = relative_error(testing::run_forward(modules, batch, none),
                                      testing::reference_nll(values, model.config(), batch));
  if (!(error < 1e-12)) return fmt::format("nll is off by {}", error);
  WeightGrads grads;
  train(modules, batch, grads);
  return testing::gradient_mismatch(model,
                                    [&](const Values& v) { return loss_of(v, model.config(), batch); });
}

// norm, activation, groups, window, documents, positions, bias, q/k norm, 1p, dropout, tied
const std::vector<int> kLevels = {2, 5, 3, 2, 2, 4, 3, 2, 2, 2, 2};

void check_rows(const std::vector<std::vector<int>>& rows) {
  for (const std::vector<int>& row : rows) {
    ModelConfig config = testing::tiny_config();
    config.normalization = row[0] == 0 ? NormKind::kLayerNorm : NormKind::kRmsNorm;
    config.activation = static_cast<ActivationKind>(row[1]);
    config.num_query_groups = 4 >> row[2];
    config.window_size = row[3] == 0 ? 0 : 3;
    config.position_embedding = row[5] == 0   ? PositionKind::kLearnedAbsolute
                                : row[5] == 1 ? PositionKind::kNone
                                              : PositionKind::kRope;
    config.rotary_percent = row[5] == 2 ? 1.0 : 0.5;
    config.bias = row[6] == 0;
    config.qkv_bias = row[6] == 1;
    config.qk_norm = row[7] == 1;
    config.norm_1p = row[8] == 1;
    config.hidden_dropout = row[9] == 0 ? 0.0 : 0.1;
    config.attention_dropout = row[9] == 0 ? 0.0 : 0.2;
    config.tied_embeddings = row[10] == 0;
    EXPECT_EQ(model_mismatch(config, {.documents = row[4] == 1}), "") << ::testing::PrintToString(row);
  }
}

TEST(Model, GradientsMatchAutogradForEveryPairOfOptions) {
  const auto rows = testing::covering_rows(kLevels, 2);
  check_rows(rows);
  RecordProperty("models", static_cast<int>(rows.size()));
}

TEST(Model, SlowGradientsMatchAutogradForEveryTripleOfOptions) {
  const auto rows = testing::covering_rows(kLevels, 3);
  check_rows(rows);
  RecordProperty("models", static_cast<int>(rows.size()));
}

TEST(CoveringRows, ContainEveryTriple) {
  const std::vector<int> levels = {2, 3, 4, 2};
  const auto rows = testing::covering_rows(levels, 3);
  for (size_t left_out = 0; left_out < levels.size(); ++left_out) {
    size_t combinations = 1;
    std::set<std::vector<int>> seen;
    for (size_t i = 0; i < levels.size(); ++i) {
      if (i != left_out) combinations *= static_cast<size_t>(levels[i]);
    }
    for (std::vector<int> row : rows) {
      row[left_out] = -1;
      seen.insert(row);
    }
    EXPECT_EQ(seen.size(), combinations);
  }
  EXPECT_LT(rows.size(), 48u) << "no better than the full product";
}

ModelConfig deep_config() {
  ModelConfig config = testing::tiny_config();
  config.pattern = "*-*-";
  config.num_query_groups = 2;
  config.hidden_dropout = 0.1;
  config.attention_dropout = 0.2;
  return config;
}

TEST(Model, GradientsOfTwoMicroBatchesAdd) {
  for (const bool tied : {false, true}) {
    ModelConfig config = deep_config();
    config.tied_embeddings = tied;
    TestModel model(config);
    std::vector<ModulePtr> modules = model.build();
    const Batch first = testing::make_batch(model.config(), {.first_sample = 0, .seed = 1});
    const Batch second =
        testing::make_batch(model.config(), {.documents = true, .first_sample = 2, .seed = 2});
    WeightGrads grads;
    train(modules, first, grads);
    train(modules, second, grads);
    const auto loss = [&](const Values& v) {
      return loss_of(v, model.config(), first) + loss_of(v, model.config(), second);
    };
    EXPECT_EQ(testing::gradient_mismatch(model, loss), "") << tied;
    // The next step starts over: what the main gradients hold is overwritten.
    model.forget_gradients();
    train(modules, second, grads);
    EXPECT_EQ(testing::gradient_mismatch(model,
                                         [&](const Values& v) { return loss_of(v, model.config(), second); }),
              "");
  }
}

TEST(Model, FrozenParametersGetNoGradientAndChangeNoOther) {
  for (const size_t remainder : {0, 1, 2}) {
    for (const bool tied : {false, true}) {
      ModelConfig config = deep_config();
      config.tied_embeddings = tied;
      TestModel model(config);
      const std::vector<Parameter*> parameters = model.parameters();
      for (size_t i = 0; i < parameters.size(); ++i) parameters[i]->trainable = i % 3 != remainder;
      std::vector<ModulePtr> modules = model.build();
      const Batch batch = testing::make_batch(model.config());
      WeightGrads grads;
      train(modules, batch, grads);
      EXPECT_EQ(testing::gradient_mismatch(
                    model, [&](const Values& v) { return loss_of(v, model.config(), batch); }),
                "");
    }
  }
}

TEST(Model, DeferredWeightGradientsAreTheSameBits) {
  TestModel now(deep_config());
  TestModel later(deep_config());
  std::vector<ModulePtr> now_modules = now.build();
  std::vector<ModulePtr> later_modules = later.build();
  const Batch batch = testing::make_batch(now.config());
  WeightGrads at_once;
  WeightGrads deferred(WeightGrads::Mode::kDefer);
  std::map<std::string, int> uses;
  deferred.on_applied = [&](Parameter& parameter) { ++uses[parameter.name]; };
  train(now_modules, batch, at_once);
  train(later_modules, batch, deferred);
  EXPECT_FALSE(later.find("layers.1.mlp.up.weight")->has_grad);
  EXPECT_GT(deferred.deferred_bytes(), 0);
  deferred.run_deferred();
  EXPECT_EQ(deferred.deferred_bytes(), 0);
  for (Parameter* parameter : now.parameters()) {
    EXPECT_TRUE(parameter->main_grad.equal(later.find(parameter->name)->main_grad)) << parameter->name;
    // Tied: the head and the embedding each use the token weight.
    EXPECT_EQ(uses[parameter->name], parameter->name == "embedding.token.weight" ? 2 : 1) << parameter->name;
  }
}

void expect_near_double(const ModelConfig& config) {
  TestModel exact(config);
  std::vector<ModulePtr> exact_modules = exact.build();
  WeightGrads grads;
  const Batch exact_batch = testing::make_batch(exact.config());
  Stash none = Stash::null();
  const Tensor exact_nll = testing::run_forward(exact_modules, exact_batch, none);
  train(exact_modules, exact_batch, grads);
  for (const auto& [dtype, bound] : {std::pair{at::kFloat, 1e-5}, std::pair{at::kBFloat16, 8e-2}}) {
    TestModel model(config, dtype);
    std::vector<ModulePtr> modules = model.build();
    const Batch batch = testing::make_batch(model.config(), {.loss_dtype = at::kFloat});
    const Tensor nll = testing::run_forward(modules, batch, none);
    EXPECT_EQ(nll.scalar_type(), at::kFloat);
    EXPECT_LT(relative_error(nll, exact_nll), bound / 2);
    train(modules, batch, grads);
    for (Parameter* parameter : model.parameters()) {
      EXPECT_EQ(parameter->main_grad.scalar_type(), at::kFloat);
      EXPECT_LT(relative_error(parameter->main_grad, exact.find(parameter->name)->main_grad), bound)
          << parameter->name << " in " << c10::toString(dtype);
    }
  }
}

TEST(Model, FloatAndHalfAreFiniteAndNearDouble) {
  expect_near_double(deep_config());
  ModelConfig hybrid = deep_config();
  hybrid.pattern = "M*-m";
  hybrid.normalization = NormKind::kRmsNorm;
  hybrid.position_embedding = PositionKind::kNone;
  testing::set_tiny_mamba(hybrid);
  expect_near_double(hybrid);
}

// The formula of one `*-` block, counted by hand from the equations of attention.h and mlp.h.
TEST(Model, StashBytesOfABlockMatchTheFormula) {
  for (const auto& [dtype, element, statistic] :
       {std::tuple{at::kDouble, 8, 8}, std::tuple{at::kFloat, 4, 4}, std::tuple{at::kBFloat16, 2, 4}}) {
    for (const bool qk_norm : {false, true}) {
      ModelConfig config = deep_config();
      config.pattern = "*-";
      config.qk_norm = qk_norm;
      TestModel model(config, dtype);
      const Batch batch = testing::make_batch(model.config());
      const int64_t T = 14, H = 12, A = 4, G = 2, D = 8, F = 10;
      Side side;
      Stash stash;
      Tensor x = phalanx::testing::random_tensor({T, H}, 3, dtype);
      x = make_layer('*', 0, model.context())->forward(x, batch, side, stash);
      const int64_t statistics = 2 * T + T * A + (qk_norm ? 2 * T * (A + G) : 0);
      int64_t bytes = element * (T * H + T * (A + 2 * G) * D + T * A * D) + statistic * statistics;
      EXPECT_EQ(stash.bytes(), bytes);
      make_layer('-', 1, model.context())->forward(x, batch, side, stash);
      bytes += element * (T * H + T * F) + statistic * 2 * T;
      EXPECT_EQ(stash.bytes(), bytes);
      const std::map<std::string, int64_t> labels = stash.bytes_by_label();
      EXPECT_EQ(labels.at("attention output"), element * T * A * D);
      EXPECT_EQ(labels.at("mlp pre-activation"), element * T * F);
    }
  }
}

TEST(Model, NullStashKeepsNothingAndWritesNoGradient) {
  TestModel model(deep_config());
  std::vector<ModulePtr> modules = model.build();
  Stash none = Stash::null();
  testing::run_forward(modules, testing::make_batch(model.config()), none);
  EXPECT_TRUE(none.empty());
  EXPECT_EQ(none.peak_bytes(), 0);
  for (const Parameter* parameter : model.parameters()) EXPECT_FALSE(parameter->has_grad);
}

TEST(Model, VisitsEveryParameterOfTheTable) {
  for (const bool tied : {false, true}) {
    ModelConfig config = deep_config();
    config.tied_embeddings = tied;
    config.qk_norm = true;
    config.activation = ActivationKind::kSwiglu;
    TestModel model(config);
    std::map<std::string, int> visits;
    for (const ModulePtr& module : model.build()) {
      module->visit_parameters([&](Parameter& parameter) { ++visits[parameter.name]; });
    }
    EXPECT_EQ(visits.size(), model.parameters().size());
    for (const auto& [name, count] : visits) {
      EXPECT_EQ(count, tied && name == "embedding.token.weight" ? 2 : 1) << name;
    }
  }
}

TEST(MakeLayer, NamesTheKindThatIsNotImplemented) {
  TestModel model(testing::tiny_config());
  for (const char kind : {'E', 'X'}) {
    try {
      make_layer(kind, 3, model.context());
      FAIL() << kind;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
      EXPECT_EQ(std::string(error.what()),
                std::string("model.pattern, layer 3: got layer kind '") + kind +
                    "', which is not implemented; needed '*' (attention), '-' (MLP), "
                    "'M' (Mamba-2) or 'm' (Mamba-1). Fix: use a pattern of these");
    }
  }
}

}  // namespace
}  // namespace phalanx::nn
