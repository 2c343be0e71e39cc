// Builds and runs the tiny models of this folder's tests, and compares their gradients with the plain reference.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <cmath>
#include <ranges>
#include <set>

#include "phalanx/nn/test_reference.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::nn::testing {

using phalanx::testing::autograd_gradients;
using phalanx::testing::random_tensor;
using phalanx::testing::relative_error;

ModelConfig tiny_config() {
  ModelConfig config;
  config.pattern = "*-";
  config.hidden_size = 12;
  config.num_attention_heads = 4;
  config.kv_channels = 8;
  config.ffn_hidden_size = 10;
  config.vocab_size = 11;
  config.make_vocab_size_divisible_by = 16;
  config.seq_length = 7;
  config.max_position_embeddings = 9;
  return config;
}

void set_tiny_mamba(ModelConfig& config) {
  config.mamba_head_dim = 6;
  config.mamba_num_heads = 4;
  config.mamba_num_groups = 2;
  config.mamba_state_dim = 3;
  config.mamba_chunk_size = 3;  // seven rows: two chunks and a part of one
  config.mamba1_state_dim = 3;
}

TestModel::TestModel(const ModelConfig& config, at::ScalarType dtype, uint64_t seed)
    : config_(config), group_(comm::make_self_group("tensor")) {
  finalize(config_);
  validate(config_);
  for (const FusedParameter& spec : make_parameter_table(config_).parameters) {
    std::vector<int64_t> shape = spec.parts[0].shape;
    shape[0] = 0;
    for (const LogicalTensor& part : spec.parts) {
      shape[0] += part.shard == ShardRule::kVocab ? config_.padded_vocab_size() : part.shape[0];
    }
    auto parameter = std::make_unique<Parameter>();
    parameter->name = spec.name;
    Tensor values = random_tensor(shape, seed * 1000 + parameters_.size(), at::kDouble, 0.3);
    if (spec.parts[0].init == InitKind::kOne) values.add_(1.0);  // norms around one, as they are
    const at::ScalarType sums = dtype == at::kDouble ? at::kDouble : at::kFloat;
    parameter->data = values.to(spec.parts[0].keep_fp32 ? sums : dtype);
    parameter->main_grad = at::full(shape, std::nan(""), at::TensorOptions(sums));
    parameters_[spec.name] = std::move(parameter);
  }
}

Parameter* TestModel::find(const std::string& name) {
  const auto it = parameters_.find(name);
  return it == parameters_.end() ? nullptr : it->second.get();
}

std::vector<Parameter*> TestModel::parameters() {
  std::vector<Parameter*> result;
  for (const auto& [name, parameter] : parameters_) result.push_back(parameter.get());
  return result;
}

void TestModel::forget_gradients() {
  for (Parameter* parameter : parameters()) {
    parameter->has_grad = false;
    parameter->main_grad.fill_(std::nan(""));
  }
}

std::vector<ModulePtr> TestModel::build(const std::function<ModulePtr(ModulePtr)>& wrap) {
  std::vector<ModulePtr> modules;
  const auto add = [&](ModulePtr m) { modules.push_back(wrap ? wrap(std::move(m)) : std::move(m)); };
  add(make_embedding(context()));
  for (size_t i = 0; i < config_.pattern.size(); ++i) {
    add(make_layer(config_.pattern[i], static_cast<int>(i), context()));
  }
  add(make_final_norm(context()));
  add(make_head(context()));
  return modules;
}

Batch make_batch(const ModelConfig& config, const BatchOptions& options) {
  const int64_t rows = options.num_samples * config.seq_length;
  Batch batch;
  batch.num_samples = options.num_samples;
  batch.seq_length = config.seq_length;
  batch.training = options.training;
  batch.random.seed = 17;
  batch.random.step = 2;
  batch.token_id = at::arange(rows) + options.first_sample * config.seq_length;
  const RandomKey key{.seed = options.seed};
  std::vector<int64_t> tokens, labels, positions, documents;
  std::vector<double> weights;
  int64_t position = 0;
  int64_t document = 0;
  for (int64_t t = 0; t < rows; ++t, ++position) {
    const PhiloxBlock words = philox_block(key, static_cast<uint64_t>(t));
    if (t % config.seq_length == 0) {
      position = 0;
      document = 0;
    } else if (options.documents && words[2] % 3 == 0) {
      position = 0;
      ++document;
    }
    const bool masked = words[3] % 5 == 0;
    tokens.push_back(words[0] % config.vocab_size);
    labels.push_back(masked ? -1 : words[1] % config.vocab_size);
    weights.push_back(masked ? 0.0 : 0.25);
    positions.push_back(position);
    documents.push_back(document);
  }
  batch.tokens = at::tensor(tokens);
  batch.labels = at::tensor(labels);
  batch.position = at::tensor(positions);
  if (options.documents) batch.document = at::tensor(documents);
  batch.loss_weight = at::tensor(weights, at::TensorOptions(at::kDouble)).to(options.loss_dtype);
  return batch;
}

Tensor run_forward(std::vector<ModulePtr>& modules, const Batch& batch, Stash& stash) {
  const c10::NoGradGuard no_grad;
  Side side;
  Tensor x;
  for (const ModulePtr& module : modules) x = module->forward(x, batch, side, stash);
  return x;
}

Tensor run_backward(std::vector<ModulePtr>& modules, const Batch& batch, Stash& stash, WeightGrads& grads) {
  const c10::NoGradGuard no_grad;
  Side side;
  Tensor dy = batch.loss_weight;
  for (const ModulePtr& module : modules | std::views::reverse) {
    dy = module->backward(dy, batch, side, stash, grads);
  }
  return dy;
}

namespace {

std::string compare(const std::string& what, const Tensor& got, const Tensor& want, double tolerance) {
  if (got.sizes() != want.sizes()) return what + " has another shape; ";
  const double error = relative_error(got, want);
  return error <= tolerance ? "" : what + " is off by " + fmt::format("{:.1e}; ", error);  // NaN too
}

}  // namespace

std::string module_mismatch(TestModel& model, Module& module, const Batch& batch,
                            const std::function<Tensor(const Tensor& x, const Values&)>& reference) {
  const Tensor x = random_tensor({batch.num_rows(), model.config().hidden_size}, 77);
  const Tensor dy = random_tensor({batch.num_rows(), model.config().hidden_size}, 78);
  const Tensor x_before = x.clone();
  const Tensor dy_before = dy.clone();
  Stash stash;
  WeightGrads grads;
  Tensor y, dx;
  {
    const c10::NoGradGuard no_grad;
    Side side;
    y = module.forward(x, batch, side, stash);
    dx = module.backward(dy, batch, side, stash, grads);
  }
  std::vector<Parameter*> parameters;
  module.visit_parameters([&](Parameter& parameter) { parameters.push_back(&parameter); });
  std::vector<Tensor> inputs = {x};
  for (const Parameter* parameter : parameters) inputs.push_back(parameter->data);
  const auto f = [&](const std::vector<Tensor>& in) {
    Values values;
    for (size_t i = 0; i < parameters.size(); ++i) values[parameters[i]->name] = in[i + 1];
    return std::vector<Tensor>{reference(in[0], values)};
  };
  const std::vector<Tensor> want = autograd_gradients(f, inputs, {dy});
  std::string report = compare("output", y, f(inputs)[0], 1e-12) + compare("dx", dx, want[0], 1e-10);
  for (size_t i = 0; i < parameters.size(); ++i) {
    report += compare(parameters[i]->name, parameters[i]->main_grad, want[i + 1], 1e-10);
  }
  if (!stash.empty() || stash.bytes() != 0) report += "the stash is not empty; ";
  if (!x.equal(x_before)) report += "x was changed; ";
  if (!dy.equal(dy_before)) report += "dy was changed; ";
  return report;
}

std::string gradient_mismatch(TestModel& model, const std::function<Tensor(const Values&)>& loss,
                              double tolerance) {
  const std::vector<Parameter*> parameters = model.parameters();
  std::vector<Tensor> inputs;
  for (const Parameter* parameter : parameters) inputs.push_back(parameter->data.to(at::kDouble));
  const auto f = [&](const std::vector<Tensor>& in) {
    Values values;
    for (size_t i = 0; i < parameters.size(); ++i) values[parameters[i]->name] = in[i];
    return std::vector<Tensor>{loss(values)};
  };
  const std::vector<Tensor> want =
      autograd_gradients(f, inputs, {at::ones({}, at::TensorOptions(at::kDouble))});
  std::string report;
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& parameter = *parameters[i];
    if (parameter.trainable) {
      report += compare(parameter.name, parameter.main_grad, want[i], tolerance);
    } else if (parameter.has_grad || !parameter.main_grad.isnan().all().item<bool>()) {
      report += parameter.name + " is frozen and got a gradient; ";
    }
  }
  return report;
}

namespace {

using Combination = std::pair<std::vector<size_t>, std::vector<int>>;  // columns and their levels

void choose_columns(size_t num_columns, size_t strength, size_t from, std::vector<size_t>& chosen,
                    std::vector<std::vector<size_t>>& all) {
  if (chosen.size() == strength) {
    all.push_back(chosen);
    return;
  }
  for (size_t c = from; c < num_columns; ++c) {
    chosen.push_back(c);
    choose_columns(num_columns, strength, c + 1, chosen, all);
    chosen.pop_back();
  }
}

std::vector<int> levels_at(const std::vector<int>& row, const std::vector<size_t>& columns) {
  std::vector<int> result;
  for (const size_t c : columns) result.push_back(row[c]);
  return result;
}

std::set<Combination> all_combinations(const std::vector<int>& levels,
                                       const std::vector<std::vector<size_t>>& columns) {
  std::set<Combination> all;
  for (const std::vector<size_t>& chosen : columns) {
    std::vector<int> level(chosen.size(), 0);
    for (bool more = true; more;) {
      all.insert({chosen, level});
      more = false;
      for (size_t i = 0; i < level.size() && !more; ++i) {  // count up, one digit a column
        more = ++level[i] < levels[chosen[i]];
        if (!more) level[i] = 0;
      }
    }
  }
  return all;
}

}  // namespace

std::vector<std::vector<int>> covering_rows(const std::vector<int>& levels, size_t strength) {
  std::vector<std::vector<size_t>> columns;
  std::vector<size_t> chosen;
  choose_columns(levels.size(), strength, 0, chosen, columns);
  std::set<Combination> missing = all_combinations(levels, columns);
  std::vector<std::vector<int>> rows;
  uint64_t draw = 0;
  while (!missing.empty()) {
    // The best of a few random rows that all contain one missing combination.
    std::vector<int> best;
    size_t best_gain = 0;
    for (int attempt = 0; attempt < 20; ++attempt) {
      std::vector<int> row;
      for (const int count : levels) {
        row.push_back(static_cast<int>(philox_u32({.seed = 3}, draw++) % static_cast<uint32_t>(count)));
      }
      const Combination& wanted = *missing.begin();
      for (size_t i = 0; i < strength; ++i) row[wanted.first[i]] = wanted.second[i];
      size_t gain = 0;
      for (const auto& c : columns) gain += missing.count({c, levels_at(row, c)});
      if (gain > best_gain) {
        best_gain = gain;
        best = row;
      }
    }
    for (const auto& c : columns) missing.erase({c, levels_at(best, c)});
    rows.push_back(best);
  }
  return rows;
}

}  // namespace phalanx::nn::testing
