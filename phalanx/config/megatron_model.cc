// Megatron's flags for the model and for recomputation. See megatron.h for what a row means.
#include "phalanx/config/megatron_rows.h"

namespace phalanx {
namespace {

using namespace megatron_rows;

constexpr std::string_view kNoPadding = "say --make-vocab-size-divisible-by 1";
constexpr std::string_view kFusion = "kernels are chosen by device and shape, and fusing changes no equation";

constexpr MegatronFlag kRows[] = {
    value("--num-layers", "model.num_layers"),
    value("--hidden-size", "model.hidden_size"),
    value("--num-attention-heads", "model.num_attention_heads"),
    value("--ffn-hidden-size", "model.ffn_hidden_size"),
    value("--kv-channels", "model.kv_channels"),
    // Megatron's number of groups is 1 when only the switch is given.
    implies("--group-query-attention", "model.num_query_groups", "1"),
    value("--num-query-groups", "model.num_query_groups"),
    value("--seq-length", "model.seq_length"),
    value("--max-position-embeddings", "model.max_position_embeddings"),
    choice("--position-embedding-type", "model.position_embedding",
           "learned_absolute=learned_absolute rope=rope none=none",
           "Phalanx has no other kind of position embedding"),
    value("--rotary-base", "model.rotary_base"),
    value("--rotary-percent", "model.rotary_percent"),
    turns("--use-rope-scaling", "model.rope_scaling", "llama3"),
    value("--rope-scaling-factor", "model.rope_scaling_factor"),
    choice("--normalization", "model.normalization", "LayerNorm=layer_norm RMSNorm=rms_norm",
           "Phalanx has no other norm"),
    value("--norm-epsilon", "model.norm_epsilon"),
    always("--apply-query-key-layer-scaling",
           "it divides scores by the layer's number and multiplies them again, to keep them in the range of "
           "fp16; scores are fp32 or wider here"),
    always("--use-flash-attn", "flash attention is used wherever device, dtype and dropout allow it"),
    always("--no-bias-gelu-fusion", kFusion),
    always("--no-bias-swiglu-fusion", kFusion),
    always("--no-bias-dropout-fusion", kFusion),
    always("--no-rope-fusion", kFusion),
    always("--no-persist-layer-norm", kFusion),
    no_switch("--fp32-residual-connection",
              "residuals have the dtype of the run: drop it, or train in fp32 (no --bf16)"),
    no_switch("--no-pad-vocab-size", kNoPadding),
    no_switch("--disable-pad-vocab-size", kNoPadding),
    turns("--apply-layernorm-1p", "model.norm_1p", "true"),
    turns("--qk-layernorm", "model.qk_norm", "true"),
    turns("--swiglu", "model.activation", "swiglu"),
    turns("--squared-relu", "model.activation", "squared_relu"),
    no_switch(
        "--quick-geglu",
        "the sigmoid approximation of a gated GELU is not built: say --model.activation=geglu, the exact one"),
    turns("--disable-bias-linear", "model.bias", "false"),
    turns("--add-qkv-bias", "model.qkv_bias", "true"),
    turns("--untie-embeddings-and-output-weights", "model.tied_embeddings", "false"),
    value("--make-vocab-size-divisible-by", "model.make_vocab_size_divisible_by"),
    value("--hidden-dropout", "model.hidden_dropout"),
    value("--attention-dropout", "model.attention_dropout"),
    value("--init-method-std", "model.init_std"),
    {"--window-size", MegatronAction::kWindow, FlagKind::kValue, "model.window_size", "", ""},
    no_switch("--multi-latent-attention", "Phalanx has no multi-latent attention; drop it"),
    no_value("--mtp-num-layers", "Phalanx has no multi-token prediction; drop it"),
    only("--attention-backend", "auto", "the attention kernel is chosen by device, dtype and shape"),
    only("--transformer-impl", "local", "every layer is Phalanx's own; Transformer Engine is not used"),
    {"--spec", MegatronAction::kChoice, FlagKind::kWords, "model.is_hybrid_model",
     "megatron.core.models.mamba.mamba_layer_specs=true",
     "the layers follow from --hybrid-layer-pattern, or from the two hybrid ratios"},
    value("--hybrid-layer-pattern", "model.pattern"),
    turns("--is-hybrid-model", "model.is_hybrid_model", "true"),
    value("--mamba-state-dim", "model.mamba_state_dim"),
    value("--mamba-head-dim", "model.mamba_head_dim"),
    value("--mamba-num-groups", "model.mamba_num_groups"),
    value("--mamba-num-heads", "model.mamba_num_heads"),
    only("--mamba-training-ssm-states-dtype", "fp32",
         "the scan of a Mamba layer keeps its states in fp32 or wider"),
    always("--disable-mamba-mem-eff-path",
           "a Mamba layer has one backward pass, which makes again what is cheap to make"),
    value("--vocab-size", "model.vocab_size"),

    choice("--recompute-granularity", "train.recompute", "full=full selective=selective",
           "nothing else can be recomputed"),
    choice("--recompute-method", "train.recompute_method", "uniform=uniform block=block",
           "layers are chosen in no other way"),
    value("--recompute-num-layers", "train.recompute_num_layers"),
    list("--recompute-modules", "train.recompute_modules"),
    turns("--recompute-activations", "train.recompute", "selective"),
    turns("--distribute-saved-activations", "train.distribute_saved_activations", "true"),

    // Older spellings that scripts still carry.
    value("--layernorm-epsilon", "model.norm_epsilon"),
    always("--no-query-key-layer-scaling", "scores are not scaled by the layer's number"),
    turns("--use-rotary-position-embeddings", "model.position_embedding", "rope"),
    turns("--openai-gelu", "model.activation", "gelu_tanh"),
    no_switch("--no-position-embedding", "say --position-embedding-type rope or none"),
    no_value("--rotary-seq-len-interpolation-factor",
             "say --model.rope_scaling=linear --model.rope_scaling_factor=FACTOR"),
    value("--hybrid-override-pattern", "model.pattern"),
    value("--hybrid-attention-ratio", "model.hybrid_attention_ratio"),
    value("--hybrid-mlp-ratio", "model.hybrid_mlp_ratio"),
    no_switch("--checkpoint-activations", "say --recompute-activations, or --recompute-granularity full"),
    always("--use-mcore-models", "there is one implementation of each model"),
    always("--use-cpu-initialization",
           "initial weights depend on the seed and the element only, on every device"),
};

}  // namespace

std::span<const MegatronFlag> megatron_model_flags() {
  return kRows;
}

}  // namespace phalanx
