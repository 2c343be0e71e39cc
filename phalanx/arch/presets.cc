#include "phalanx/arch/presets.h"

#include <array>
#include <string>

namespace phalanx {
namespace {

// GPT-2's shape: layer norm, tanh GELU, learned positions, biases, tied head, 4 h.
struct GptSize {
  std::string_view name;
  int64_t layers;
  int64_t hidden;
  int64_t heads;
  int64_t positions;
  int64_t vocabulary;
};

// RMS norm, SwiGLU, rotary positions, no bias.
struct LlamaSize {
  std::string_view name;
  int64_t layers;
  int64_t hidden;
  int64_t heads;
  int64_t groups;
  int64_t ffn;
  int64_t positions;
  int64_t vocabulary;
  double epsilon;
  double rotary_base;
  bool tied;
};

constexpr int64_t kGpt2Vocabulary = 50257;

constexpr auto kGptSizes = std::to_array<GptSize>({
    // The models of the peer baselines (bench/peers/common.py).
    {"tiny", 2, 128, 4, 128, 512},
    {"small", 6, 384, 6, 256, 4096},
    {"base", 12, 768, 12, 512, 32000},
    // A few million parameters over bytes: 256 values and one end-of-document token.
    {"demo", 4, 256, 4, 256, 257},
    // gpt2: defaults of transformers 5.23 GPT2Config. Larger ones: karpathy/nanoGPT model.py, GPT.from_pretrained.
    {"gpt2", 12, 768, 12, 1024, kGpt2Vocabulary},
    {"gpt2-medium", 24, 1024, 16, 1024, kGpt2Vocabulary},
    {"gpt2-large", 36, 1280, 20, 1024, kGpt2Vocabulary},
    {"gpt2-xl", 48, 1600, 25, 1024, kGpt2Vocabulary},
    // microsoft/Megatron-DeepSpeed examples_deepspeed/rebase/ds_pretrain_gpt_1.3B.sh, which lists the sizes of
    // arXiv 2005.14165 with GPT-2's vocabulary and 2048 positions. Attention is dense here; the paper alternates it
    // with banded layers. 1.3B has 16 heads, 13B a width of 5120: the paper's own table does not divide there.
    {"gpt3-125m", 12, 768, 12, 2048, kGpt2Vocabulary},
    {"gpt3-350m", 24, 1024, 16, 2048, kGpt2Vocabulary},
    {"gpt3-760m", 24, 1536, 16, 2048, kGpt2Vocabulary},
    {"gpt3-1.3b", 24, 2048, 16, 2048, kGpt2Vocabulary},
    {"gpt3-2.7b", 32, 2560, 32, 2048, kGpt2Vocabulary},
    {"gpt3-6.7b", 32, 4096, 32, 2048, kGpt2Vocabulary},
    {"gpt3-13b", 40, 5120, 40, 2048, kGpt2Vocabulary},
    {"gpt3-175b", 96, 12288, 96, 2048, kGpt2Vocabulary},
    // Narayanan et al. 2021 (arXiv 2104.04473), Table 1; vocabulary 51,200 and sequences of 2048 as stated there.
    {"megatron-1.7b", 24, 2304, 24, 2048, 51200},
    {"megatron-3.6b", 30, 3072, 32, 2048, 51200},
    {"megatron-7.5b", 36, 4096, 32, 2048, 51200},
    {"megatron-18.4b", 40, 6144, 48, 2048, 51200},
    {"megatron-39.1b", 48, 8192, 64, 2048, 51200},
    {"megatron-76.1b", 60, 10240, 80, 2048, 51200},
    {"megatron-145.6b", 80, 12288, 96, 2048, 51200},
    {"megatron-310.1b", 96, 16384, 128, 2048, 51200},
    {"megatron-529.6b", 105, 20480, 128, 2048, 51200},
    {"megatron-1008b", 128, 25600, 160, 2048, 51200},
});

constexpr auto kLlamaSizes = std::to_array<LlamaSize>({
    // Lightning-AI/litgpt litgpt/config.py (each entry there names its config.json) and pytorch/torchtune
    // torchtune/models/{llama2,llama3_1}/_model_builders.py agree where they overlap.
    {"llama-2-7b", 32, 4096, 32, 32, 11008, 4096, 32000, 1e-5, 1e4, false},
    {"llama-2-13b", 40, 5120, 40, 40, 13824, 4096, 32000, 1e-5, 1e4, false},
    {"llama-2-70b", 80, 8192, 64, 8, 28672, 4096, 32000, 1e-5, 1e4, false},
    {"llama-3-8b", 32, 4096, 32, 8, 14336, 8192, 128256, 1e-5, 5e5, false},
    {"llama-3-70b", 80, 8192, 64, 8, 28672, 8192, 128256, 1e-5, 5e5, false},
    {"llama-3.1-8b", 32, 4096, 32, 8, 14336, 131072, 128256, 1e-5, 5e5, false},
    // pytorch/torchtune torchtune/models/qwen2/_model_builders.py. Biases on q, k, v only.
    {"qwen2-0.5b", 24, 896, 14, 2, 4864, 32768, 151936, 1e-6, 1e6, true},
    {"qwen2-1.5b", 28, 1536, 12, 2, 8960, 32768, 151936, 1e-6, 1e6, true},
    {"qwen2-7b", 28, 3584, 28, 4, 18944, 32768, 152064, 1e-6, 1e6, false},
    // Defaults of transformers 5.23 MistralConfig; epsilon and 32768 positions from torchtune's mistral builders. A
    // window of 4096.
    {"mistral-7b", 32, 4096, 32, 8, 14336, 32768, 32000, 1e-5, 1e4, false},
});

// Of Waleffe et al. 2024 (arXiv 2406.07887). Megatron-LM examples/mamba/train.sh: sizes, ratios, groups, the erf GELU that
// is Megatron's default; arXiv table and models.md 3.3 for the reference transformer and the vocabulary.
struct WaleffeSize {
  std::string_view name;
  int64_t layers;
  int64_t hidden;
  int64_t heads;
  double attention_ratio;
  double mlp_ratio;
};

constexpr auto kWaleffeSizes = std::to_array<WaleffeSize>({
    {"mamba2-hybrid-800m", 48, 1024, 16, 0.08, 0.5},
    {"mamba2-hybrid-8b", 56, 4096, 32, 0.08, 0.5},
    {"mamba2-8b", 56, 4096, 0, 0.0, 0.0},  // the same script with both ratios 0
    {"mamba-8b", 56, 4096, 0, 0.0, 0.0},
    {"transformer-8b", 32, 4096, 32, 0.0, 0.0},
});

// state-spaces/mamba README.md; vocabulary 50277, stored as 50280 (models.md 1.2, 1.3).
struct MambaSize {
  std::string_view name;
  int64_t layers;
  int64_t hidden;
};

constexpr auto kMambaSizes = std::to_array<MambaSize>({
    {"mamba-130m", 24, 768},
    {"mamba-370m", 48, 1024},
    {"mamba-790m", 48, 1536},
    {"mamba-1.4b", 48, 2048},
    {"mamba-2.8b", 64, 2560},
});

ModelConfig gpt(const GptSize& size) {
  ModelConfig c;
  c.num_layers = size.layers;
  c.hidden_size = size.hidden;
  c.num_attention_heads = size.heads;
  c.seq_length = size.positions;
  c.vocab_size = size.vocabulary;
  return c;
}

ModelConfig llama(const LlamaSize& size) {
  ModelConfig c;
  c.num_layers = size.layers;
  c.hidden_size = size.hidden;
  c.num_attention_heads = size.heads;
  c.num_query_groups = size.groups == size.heads ? 0 : size.groups;
  c.ffn_hidden_size = size.ffn;
  c.vocab_size = size.vocabulary;
  c.seq_length = size.positions;
  c.normalization = NormKind::kRmsNorm;
  c.norm_epsilon = size.epsilon;
  c.activation = ActivationKind::kSwiglu;
  c.position_embedding = PositionKind::kRope;
  c.rotary_base = size.rotary_base;
  c.bias = false;
  c.tied_embeddings = size.tied;
  c.qkv_bias = size.name.starts_with("qwen2");
  if (size.name == "mistral-7b") c.window_size = 4096;
  if (size.name.starts_with("llama-3.1")) {
    c.rope_scaling = RopeScalingKind::kLlama3;
    c.rope_scaling_factor = 8.0;
    c.rope_low_freq_factor = 1.0;
    c.rope_high_freq_factor = 4.0;
    c.rope_original_max_position = 8192;
  }
  return c;
}

ModelConfig waleffe(const WaleffeSize& size) {
  ModelConfig c;
  c.num_layers = size.layers;
  c.hidden_size = size.hidden;
  c.num_attention_heads = size.heads;
  c.vocab_size = 256000;
  c.seq_length = 4096;
  c.activation = ActivationKind::kGelu;
  c.bias = false;
  c.tied_embeddings = false;
  if (size.name == "transformer-8b") {
    c.norm_1p = true;
    c.activation = ActivationKind::kSquaredRelu;
    c.position_embedding = PositionKind::kRope;
    c.rotary_percent = 0.5;
    return c;
  }
  c.normalization = NormKind::kRmsNorm;
  c.position_embedding = PositionKind::kNone;
  if (size.name == "mamba-8b") {
    c.num_layers = 0;  // the pattern has them
    c.pattern = "(m)x56";
    c.mamba1_state_dim = 128;
    return c;
  }
  c.is_hybrid_model = true;
  c.hybrid_attention_ratio = size.attention_ratio;
  c.hybrid_mlp_ratio = size.mlp_ratio;
  if (size.heads > 0) c.num_query_groups = 8;
  return c;
}

// The Mamba-2 model of the peer baselines (mamba2_train.py with 12 layers); chunks of 64 rows suit a CPU.
constexpr std::string_view kMamba2Small = "mamba2-small";

ModelConfig mamba2_small() {
  ModelConfig c;
  c.pattern = "(M)x12";
  c.hidden_size = 384;
  c.mamba_num_groups = 1;
  c.mamba_chunk_size = 64;
  c.vocab_size = 4096;
  c.seq_length = 512;
  c.normalization = NormKind::kRmsNorm;
  c.position_embedding = PositionKind::kNone;
  c.bias = false;
  return c;
}

ModelConfig mamba(const MambaSize& size) {
  ModelConfig c;
  c.pattern = "(m)x" + std::to_string(size.layers);
  c.hidden_size = size.hidden;
  c.vocab_size = 50280;
  c.make_vocab_size_divisible_by = 8;
  c.seq_length = 2048;  // of a sample; there is no longest context
  c.normalization = NormKind::kRmsNorm;
  c.position_embedding = PositionKind::kNone;
  c.bias = false;
  return c;
}

}  // namespace

std::optional<ModelConfig> find_preset(std::string_view name) {
  for (const GptSize& size : kGptSizes) {
    if (size.name == name) return gpt(size);
  }
  for (const LlamaSize& size : kLlamaSizes) {
    if (size.name == name) return llama(size);
  }
  for (const WaleffeSize& size : kWaleffeSizes) {
    if (size.name == name) return waleffe(size);
  }
  for (const MambaSize& size : kMambaSizes) {
    if (size.name == name) return mamba(size);
  }
  if (name == kMamba2Small) return mamba2_small();
  return std::nullopt;
}

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  for (const GptSize& size : kGptSizes) names.emplace_back(size.name);
  for (const LlamaSize& size : kLlamaSizes) names.emplace_back(size.name);
  for (const WaleffeSize& size : kWaleffeSizes) names.emplace_back(size.name);
  for (const MambaSize& size : kMambaSizes) names.emplace_back(size.name);
  names.emplace_back(kMamba2Small);
  return names;
}

}  // namespace phalanx
