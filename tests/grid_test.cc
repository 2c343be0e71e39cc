// The layout grid of a world of one (DESIGN 7.2): the same run however it is cut into micro-batches and whatever is
// computed again, for every pair of values over all axes. Later issues add axes to the one table below.
#include <gtest/gtest.h>

#include <cstdio>
#include <map>

#include "phalanx/engine/train_step.h"
#include "phalanx/model/model.h"
#include "phalanx/optim/optimizer.h"
#include "phalanx/tensor/gradient_check.h"
#include "tests/covering_grid.h"
#include "tests/mock_samples.h"

namespace phalanx {
namespace {

using testing::Axis;
using testing::Cell;

constexpr int64_t kSamples = 8;
constexpr int64_t kLength = 16;
constexpr int64_t kSteps = 5;

const std::vector<Axis>& axes() {
  static const std::vector<Axis> table = {
      {"micro_batch", {"4", "2", "3", "1"}},
      {"recompute", {"none", "selective", "uniform1", "uniform2", "block1"}},
      {"dropout", {"0", "0.1"}},
      {"label_mask", {"none", "some", "whole_samples"}},
      {"attention", {"causal", "window", "documents"}},
      {"tied", {"yes", "no"}},
      {"vocab", {"128", "211"}},
      {"kv_groups", {"4", "2", "1"}},
      {"family", {"gpt", "llama"}},
      {"dtype", {"fp64", "fp32"}},
  };
  return table;
}

struct Setting {
  std::map<std::string, std::string> values;
  const std::string& operator[](const std::string& axis) const { return values.at(axis); }
};

Setting setting_of(const Cell& cell) {
  Setting setting;
  for (size_t a = 0; a < axes().size(); ++a) setting.values[axes()[a].name] = axes()[a].values[cell[a]];
  return setting;
}

ModelConfig model_of(const Setting& s) {
  ModelConfig c;
  c.num_layers = 3;
  c.hidden_size = 16;
  c.num_attention_heads = 4;
  c.num_query_groups = std::stoll(s["kv_groups"]);
  c.vocab_size = std::stoll(s["vocab"]);
  c.make_vocab_size_divisible_by = 64;
  c.seq_length = kLength;
  c.tied_embeddings = s["tied"] == "yes";
  c.hidden_dropout = c.attention_dropout = std::stod(s["dropout"]);
  if (s["attention"] == "window") c.window_size = 5;
  if (s["family"] == "llama") {
    c.normalization = NormKind::kRmsNorm;
    c.activation = ActivationKind::kSwiglu;
    c.ffn_hidden_size = 40;
    c.position_embedding = PositionKind::kRope;
    c.bias = false;
  }
  c.init_std = 0.3;  // far from zero, so that every path carries a gradient that matters
  finalize(c);
  validate(c);
  return c;
}

RecomputePolicy policy_of(const std::string& name) {
  if (name == "selective") return {RecomputeMode::kSelective, RecomputeMethod::kUniform, 1};
  if (name == "uniform1") return {RecomputeMode::kFull, RecomputeMethod::kUniform, 1};
  if (name == "uniform2") return {RecomputeMode::kFull, RecomputeMethod::kUniform, 2};
  if (name == "block1") return {RecomputeMode::kFull, RecomputeMethod::kBlock, 1};
  return {};
}

// The samples of one step as micro-batches; sample and position decide everything, never the cut.
std::vector<HostBatch> step_data(const Setting& s, int64_t step, int64_t micro_batch) {
  const testing::MockSamples mock{.vocab = std::stoll(s["vocab"]),
                                  .length = kLength,
                                  .label_mask = s["label_mask"],
                                  .documents = s["attention"] == "documents"};
  std::vector<HostBatch> result;
  for (int64_t first = 0; first < kSamples; first += micro_batch) {
    HostBatch host;
    host.first_sample = first;
    host.num_samples = std::min(micro_batch, kSamples - first);
    for (int64_t i = 0; i < host.num_samples; ++i) testing::add_sample(mock, step, first + i, host);
    result.push_back(std::move(host));
  }
  return result;
}

enum class Mutant { kNone, kMeanOfMeans, kDropoutByLocalRow, kStaleGradient, kSkippedMask };

struct Trajectory {
  std::vector<double> losses;
  std::vector<double> norms;
  Tensor weights;  // all, flattened
};

// run_train_step with a classic mistake put in, through the public pieces.
StepOutcome mutated_step(Model& model, Optimizer& optimizer, std::vector<HostBatch> data,
                         const StepContext& context, Mutant mutant) {
  if (mutant == Mutant::kDropoutByLocalRow) {
    for (HostBatch& host : data) host.first_sample = 0;
  }
  if (mutant == Mutant::kSkippedMask) {
    for (HostBatch& host : data) std::fill(host.label_mask.begin(), host.label_mask.end(), uint8_t{1});
  }
  if (mutant == Mutant::kNone || mutant == Mutant::kDropoutByLocalRow || mutant == Mutant::kSkippedMask) {
    return run_train_step(model, optimizer, data, context);
  }
  StepOutcome outcome;
  const double whole = static_cast<double>(count_labels(data));
  WeightGrads grads;
  for (const HostBatch& host : data) {
    const double counted = static_cast<double>(count_labels({host}));
    const double weight = mutant == Mutant::kMeanOfMeans
                              ? 1.0 / std::max(1.0, counted) / static_cast<double>(data.size())
                              : 1.0 / whole;
    const Batch batch = make_batch(host, kLength, context, weight, true, model);
    if (mutant == Mutant::kStaleGradient) {
      for (Parameter* p : model.parameters()) p->has_grad = false;  // overwrites instead of accumulating
    }
    Side side;
    Stash stash;
    const Tensor nll = model.forward(batch, side, stash);
    outcome.loss += (nll * batch.loss_weight).sum().item<double>();
    model.backward(batch.loss_weight, batch, side, stash, grads);
  }
  outcome.grad_norm = optimizer.step(context.lr, 1.0).grad_norm;
  optimizer.finish_step();
  return outcome;
}

Trajectory train(const Setting& s, int64_t micro_batch, const RecomputePolicy& recompute, Mutant mutant) {
  const at::ScalarType dtype = s["dtype"] == "fp64" ? at::kDouble : at::kFloat;
  const kernels::Gemm gemm;
  const auto group = comm::make_self_group("tp");
  Model model(model_of(s), {.dtype = dtype, .seed = 3, .recompute = recompute}, gemm, *group);
  OptimConfig optim;
  optim.clip_grad = 0.5;
  Optimizer optimizer(model.parameters(), optim, accumulator_of(dtype));
  Trajectory result;
  for (int64_t step = 1; step <= kSteps; ++step) {
    const StepContext context{.step = step, .seed = 3, .lr = 1e-3};
    const StepOutcome outcome =
        mutated_step(model, optimizer, step_data(s, step, micro_batch), context, mutant);
    result.losses.push_back(outcome.loss);
    result.norms.push_back(outcome.grad_norm);
  }
  std::vector<Tensor> flat;
  for (Parameter* p : model.parameters()) flat.push_back(p->data.flatten().to(at::kDouble));
  result.weights = at::cat(flat);
  return result;
}

// "" when equal within the bars of DESIGN 7.2.
std::string difference(const Trajectory& a, const Trajectory& b, bool fp64) {
  const double bar = fp64 ? 1e-10 : 1e-5;
  for (size_t i = 0; i < a.losses.size(); ++i) {
    const auto far = [&](double x, double y) { return !(std::abs(x - y) <= bar * std::abs(y)); };
    if (far(a.losses[i], b.losses[i]))
      return fmt::format("step {}: loss {} and {}", i + 1, a.losses[i], b.losses[i]);
    if (far(a.norms[i], b.norms[i]))
      return fmt::format("step {}: norm {} and {}", i + 1, a.norms[i], b.norms[i]);
  }
  const double weights = (a.weights - b.weights).abs().max().item<double>();
  if (fp64 && !(weights <= 1e-10)) return fmt::format("weights differ by {}", weights);
  return "";
}

std::string describe(const Setting& s) {
  std::string text;
  for (const Axis& axis : axes()) text += axis.name + "=" + s[axis.name] + " ";
  return text;
}

Trajectory reference_of(const Setting& s) {
  return train(s, kSamples, {}, Mutant::kNone);
}

TEST(Grid, EveryCutIsTheSameRun) {
  const std::vector<Cell> cells = testing::covering_cells(axes());
  std::set<testing::ValuePair> covered;
  for (const Cell& cell : cells) {
    const Setting s = setting_of(cell);
    const Trajectory got = train(s, std::stoll(s["micro_batch"]), policy_of(s["recompute"]), Mutant::kNone);
    EXPECT_EQ(difference(got, reference_of(s), s["dtype"] == "fp64"), "") << describe(s);
    EXPECT_LT(got.losses.back(), 20.0) << "the run must stay in a sane range to compare anything";
    covered.merge(testing::pairs_of(cell));
  }
  const size_t all = testing::all_pairs(axes()).size();
  std::printf("grid: %zu cells over %zu axes, %zu of %zu pairs covered\n", cells.size(), axes().size(),
              covered.size(), all);
  EXPECT_EQ(covered.size(), all);
}

// Recomputation changes not one bit.
TEST(Grid, RecomputeIsBitEqual) {
  int compared = 0;
  for (const Cell& cell : testing::covering_cells(axes())) {
    const Setting s = setting_of(cell);
    if (s["recompute"] == "none") continue;
    const int64_t micro_batch = std::stoll(s["micro_batch"]);
    const Trajectory with = train(s, micro_batch, policy_of(s["recompute"]), Mutant::kNone);
    const Trajectory without = train(s, micro_batch, {}, Mutant::kNone);
    EXPECT_EQ(with.losses, without.losses) << describe(s);
    EXPECT_EQ(with.norms, without.norms) << describe(s);
    EXPECT_TRUE(at::equal(with.weights, without.weights)) << describe(s);
    ++compared;
  }
  std::printf("recompute: %d cells bit-equal\n", compared);
  EXPECT_GE(compared, 15);
}

// The grid must fail on every classic mistake that a world of one can make.
TEST(Grid, EveryMutantIsCaught) {
  const Setting base{{{"micro_batch", "3"},
                      {"recompute", "none"},
                      {"dropout", "0.1"},
                      {"label_mask", "some"},
                      {"attention", "causal"},
                      {"tied", "yes"},
                      {"vocab", "211"},
                      {"kv_groups", "2"},
                      {"family", "gpt"},
                      {"dtype", "fp64"}}};
  const Trajectory reference = reference_of(base);
  EXPECT_EQ(difference(train(base, 3, {}, Mutant::kNone), reference, true), "");
  for (const Mutant mutant :
       {Mutant::kMeanOfMeans, Mutant::kDropoutByLocalRow, Mutant::kStaleGradient, Mutant::kSkippedMask}) {
    EXPECT_NE(difference(train(base, 3, {}, mutant), reference, true), "")
        << "mutant " << static_cast<int>(mutant);
  }
}

// Each axis has a mutant that only it catches: without the axis, the mistake goes unseen.
TEST(Grid, TheAxisIsWhatCatchesTheMutant) {
  Setting s{{{"micro_batch", "3"},
             {"recompute", "none"},
             {"dropout", "0"},
             {"label_mask", "none"},
             {"attention", "causal"},
             {"tied", "yes"},
             {"vocab", "128"},
             {"kv_groups", "4"},
             {"family", "gpt"},
             {"dtype", "fp64"}}};
  EXPECT_EQ(difference(train(s, 3, {}, Mutant::kDropoutByLocalRow), reference_of(s), true), "");
  EXPECT_EQ(difference(train(s, 3, {}, Mutant::kSkippedMask), reference_of(s), true), "");
  EXPECT_EQ(difference(train(s, 4, {}, Mutant::kMeanOfMeans), reference_of(s), true), "");
  EXPECT_EQ(difference(train(s, kSamples, {}, Mutant::kStaleGradient), reference_of(s), true), "");
}

}  // namespace
}  // namespace phalanx
