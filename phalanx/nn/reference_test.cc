// The plain model that the tests of this folder compare with.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "phalanx/nn/test_reference.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::nn::testing {

using phalanx::testing::relative_error;

namespace {

const Tensor* value_of(const Values& values, const std::string& name) {
  const auto it = values.find(name);
  return it == values.end() ? nullptr : &it->second;
}

Tensor reference_linear(const Tensor& x, const Values& values, const std::string& name) {
  Tensor y = x.matmul(values.at(name + ".weight").t());
  const Tensor* bias = value_of(values, name + ".bias");
  return bias == nullptr ? y : y + *bias;
}

// x [T, heads, D]; turns the first `rotary` columns of every head as complex numbers.
Tensor reference_rotary(const Tensor& x, const ModelConfig& config, const Tensor& position) {
  const int64_t half = static_cast<int64_t>(config.kv_channels * config.rotary_percent) / 2;
  std::vector<Tensor> first, second;
  for (int64_t i = 0; i < half; ++i) {
    const double frequency =
        std::pow(config.rotary_base, -static_cast<double>(i) / static_cast<double>(half));
    const Tensor angle = (position.to(at::kDouble) * frequency).unsqueeze(1);
    const Tensor a = x.select(2, i);
    const Tensor b = x.select(2, i + half);
    first.push_back(a * angle.cos() - b * angle.sin());
    second.push_back(b * angle.cos() + a * angle.sin());
  }
  first.insert(first.end(), second.begin(), second.end());
  return at::cat({at::stack(first, 2), x.narrow(2, 2 * half, config.kv_channels - 2 * half)}, 2);
}

bool keeps(const RandomKey& key, int64_t element, double p) {
  return philox_u32(key, static_cast<uint64_t>(element)) >= dropout_threshold(p);
}

// Attention of one head of one sample: q, k, v [S, D].
Tensor reference_head(const Tensor& q, const Tensor& k, const Tensor& v, const ModelConfig& config,
                      const Batch& batch, int64_t sample_row, const RandomKey& key, int64_t head) {
  const int64_t length = q.size(0);
  const Tensor visible_tensor = at::zeros({length, length}, at::TensorOptions(at::kBool));
  const Tensor keep_tensor = at::ones({length, length}, at::TensorOptions(at::kDouble));
  auto visible = visible_tensor.accessor<bool, 2>();
  auto keep = keep_tensor.accessor<double, 2>();
  const double p = batch.training ? config.attention_dropout : 0.0;
  const int64_t first_id = batch.token_id[sample_row].item<int64_t>();
  const int64_t sample = first_id / config.seq_length;
  for (int64_t i = 0; i < length; ++i) {
    for (int64_t j = 0; j <= i; ++j) {
      const bool near = config.window_size == 0 || i - j < config.window_size;
      const bool together = !batch.document.defined() || batch.document[sample_row + i].item<int64_t>() ==
                                                             batch.document[sample_row + j].item<int64_t>();
      visible[i][j] = near && together;
      const int64_t row = (sample * config.num_attention_heads + head) * length + i;
      if (p > 0.0) keep[i][j] = keeps(key, row * length + j, p) ? 1.0 / (1.0 - p) : 0.0;
    }
  }
  const Tensor scores = q.matmul(k.t()) / std::sqrt(static_cast<double>(config.kv_channels));
  const Tensor probabilities = scores.masked_fill(visible_tensor.logical_not(), -INFINITY).softmax(1);
  return (probabilities * keep_tensor).matmul(v);
}

}  // namespace

Tensor reference_norm(const Tensor& x, const Values& values, const std::string& name,
                      const ModelConfig& config) {
  const Tensor stored = values.at(name + ".weight");
  const Tensor weight = config.norm_1p ? stored + 1.0 : stored;
  const Tensor* bias = value_of(values, name + ".bias");
  const bool rms = config.normalization == NormKind::kRmsNorm;
  const Tensor centred = rms ? x : x - x.mean(-1, /*keepdim=*/true);
  const Tensor power = centred.square().mean(-1, /*keepdim=*/true);
  const Tensor y = centred / (power + config.norm_epsilon).sqrt() * weight;
  return bias == nullptr ? y : y + *bias;
}

Tensor reference_attention(const Tensor& x, const Values& values, int index, const ModelConfig& config,
                           const Batch& batch) {
  const std::string layer = "layers." + std::to_string(index);
  const int64_t heads = config.num_attention_heads;
  const int64_t groups = config.num_query_groups;
  const int64_t size = config.kv_channels;
  const Tensor normed = reference_norm(x, values, layer + ".norm", config);
  const Tensor qkv = reference_linear(normed, values, layer + ".attention.qkv");
  Tensor q = qkv.narrow(1, 0, heads * size).reshape({-1, heads, size});
  Tensor k = qkv.narrow(1, heads * size, groups * size).reshape({-1, groups, size});
  const Tensor v = qkv.narrow(1, (heads + groups) * size, groups * size).reshape({-1, groups, size});
  if (config.qk_norm) {
    q = reference_norm(q, values, layer + ".attention.q_norm", config);
    k = reference_norm(k, values, layer + ".attention.k_norm", config);
  }
  if (config.position_embedding == PositionKind::kRope) {
    q = reference_rotary(q, config, batch.position);
    k = reference_rotary(k, config, batch.position);
  }
  const RandomKey key = batch.random_key(RandomPurpose::kAttentionDropout, index);
  const int64_t length = config.seq_length;
  std::vector<Tensor> rows;
  for (int64_t b = 0; b < batch.num_samples; ++b) {
    std::vector<Tensor> outputs;
    for (int64_t a = 0; a < heads; ++a) {
      const int64_t g = a / (heads / groups);
      const auto part = [&](const Tensor& t, int64_t h) {
        return t.narrow(0, b * length, length).select(1, h);
      };
      outputs.push_back(
          reference_head(part(q, a), part(k, g), part(v, g), config, batch, b * length, key, a));
    }
    rows.push_back(at::cat(outputs, 1));
  }
  return reference_linear(at::cat(rows, 0), values, layer + ".attention.out");
}

Tensor reference_mlp(const Tensor& x, const Values& values, int index, const ModelConfig& config) {
  const std::string layer = "layers." + std::to_string(index);
  const Tensor normed = reference_norm(x, values, layer + ".norm", config);
  const auto gelu_tanh = [](const Tensor& t) {
    return 0.5 * t * (1.0 + (std::sqrt(2.0 / M_PI) * (t + 0.044715 * t.pow(3))).tanh());
  };
  Tensor a;
  if (is_gated(config.activation)) {
    const Tensor both = reference_linear(normed, values, layer + ".mlp.gate_up");
    const Tensor gate = both.narrow(1, 0, config.ffn_hidden_size);
    const Tensor up = both.narrow(1, config.ffn_hidden_size, config.ffn_hidden_size);
    a = (config.activation == ActivationKind::kSwiglu ? gate * gate.sigmoid() : gelu_tanh(gate)) * up;
  } else {
    const Tensor h = reference_linear(normed, values, layer + ".mlp.up");
    switch (config.activation) {
      case ActivationKind::kGelu:
        a = 0.5 * h * (1.0 + (h / std::sqrt(2.0)).erf());
        break;
      case ActivationKind::kGeluTanh:
        a = gelu_tanh(h);
        break;
      default:
        a = h.clamp_min(0.0).square();
        break;
    }
  }
  return reference_linear(a, values, layer + ".mlp.down");
}

Tensor reference_dropout(const Tensor& x, const Batch& batch, RandomPurpose purpose, int layer, double p) {
  if (!batch.training || p == 0.0) return x;
  const RandomKey key = batch.random_key(purpose, layer);
  const Tensor factor_tensor = at::empty(x.sizes(), at::TensorOptions(at::kDouble));
  auto factor = factor_tensor.accessor<double, 2>();
  for (int64_t t = 0; t < x.size(0); ++t) {
    const int64_t id = batch.token_id[t].item<int64_t>();
    for (int64_t c = 0; c < x.size(1); ++c) {
      factor[t][c] = keeps(key, id * x.size(1) + c, p) ? 1.0 / (1.0 - p) : 0.0;
    }
  }
  return x * factor_tensor;
}

Tensor reference_embedding(const Values& values, const ModelConfig& config, const Batch& batch) {
  Tensor x = values.at("embedding.token.weight").index_select(0, batch.tokens);
  if (config.position_embedding == PositionKind::kLearnedAbsolute) {
    x = x + values.at("embedding.position.weight").index_select(0, batch.position);
  }
  return reference_dropout(x, batch, RandomPurpose::kEmbeddingDropout, 0, config.hidden_dropout);
}

Tensor reference_branch(const Tensor& x, const Values& values, int index, const ModelConfig& config,
                        const Batch& batch) {
  switch (config.pattern[static_cast<size_t>(index)]) {
    case '*':
      return reference_attention(x, values, index, config, batch);
    case 'M':
      return reference_mamba2(x, values, index, config, batch);
    case 'm':
      return reference_mamba1(x, values, index, config, batch);
    default:
      return reference_mlp(x, values, index, config);
  }
}

Tensor reference_hidden(const Values& values, const ModelConfig& config, const Batch& batch) {
  Tensor x = reference_embedding(values, config, batch);
  for (size_t i = 0; i < config.pattern.size(); ++i) {
    const int index = static_cast<int>(i);
    const Tensor branch = reference_branch(x, values, index, config, batch);
    x = x + reference_dropout(branch, batch, RandomPurpose::kHiddenDropout, index, config.hidden_dropout);
  }
  return reference_norm(x, values, "final_norm", config);
}

Tensor reference_logits(const Tensor& x, const Values& values, const ModelConfig& config) {
  const Tensor weight = values.at(config.tied_embeddings ? "embedding.token.weight" : "head.weight");
  return x.matmul(weight.narrow(0, 0, config.vocab_size).t());
}

Tensor reference_nll(const Values& values, const ModelConfig& config, const Batch& batch) {
  const Tensor logits = reference_logits(reference_hidden(values, config, batch), values, config);
  const Tensor picked = logits.log_softmax(1).gather(1, batch.labels.clamp_min(0).unsqueeze(1)).squeeze(1);
  return -picked * batch.labels.ge(0);
}

// The reference itself, at one point where the answer is known by hand.
TEST(Reference, UniformLogitsCostLogVocabulary) {
  ModelConfig config = tiny_config();
  config.tied_embeddings = false;
  TestModel model(config);
  Values values;
  for (Parameter* parameter : model.parameters()) values[parameter->name] = parameter->data;
  values["head.weight"] = at::zeros_like(values["head.weight"]);
  const Batch batch = make_batch(model.config());
  const Tensor nll = reference_nll(values, model.config(), batch);
  EXPECT_LT(relative_error(nll, std::log(11.0) * batch.labels.ge(0).to(at::kDouble)), 1e-14);
}

}  // namespace phalanx::nn::testing
