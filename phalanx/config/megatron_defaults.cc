// What Megatron does when a flag is not given. Required flags (sizes, the learning rate) have no row.
#include "phalanx/config/megatron.h"

namespace phalanx {
namespace {

constexpr MegatronDefault kDefaults[] = {
    {"parallel.tensor", "1"},
    {"parallel.pipeline", "1"},
    {"parallel.sequence_parallel", "false"},
    {"parallel.context", "1"},
    {"parallel.chunks", "1"},
    {"parallel.zero_stage", "0"},
    {"parallel.order", "tp-cp-dp-pp"},
    {"model.num_query_groups", "0"},  // as many as heads
    {"model.kv_channels", "0"},       // hidden size / heads
    {"model.ffn_hidden_size", "0"},   // 4 h, or int(8 h / 3 / 64) * 64 with SwiGLU
    {"model.position_embedding", "learned_absolute"},
    {"model.rotary_base", "10000"},
    {"model.rotary_percent", "1.0"},
    {"model.rope_scaling", "none"},
    {"model.rope_scaling_factor", "8.0"},
    {"model.normalization", "layer_norm"},
    {"model.norm_epsilon", "1e-5"},
    {"model.norm_1p", "false"},
    {"model.qk_norm", "false"},
    {"model.activation", "gelu"},
    {"model.bias", "true"},
    {"model.qkv_bias", "false"},
    {"model.tied_embeddings", "true"},
    {"model.make_vocab_size_divisible_by", "128"},
    {"model.hidden_dropout", "0.1"},
    {"model.attention_dropout", "0.1"},
    {"model.init_std", "0.02"},
    {"model.window_size", "0"},
    {"model.is_hybrid_model", "false"},
    {"model.hybrid_attention_ratio", "0.0"},
    {"model.hybrid_mlp_ratio", "0.0"},
    {"model.mamba_state_dim", "128"},
    {"model.mamba_head_dim", "64"},
    {"model.mamba_num_groups", "8"},
    {"model.mamba_num_heads", "0"},  // 2 h / size of a head
    {"train.recompute", "none"},
    {"train.distribute_saved_activations", "false"},
    {"train.seed", "1234"},
    {"train.check_for_nan", "true"},
    {"train.dtype", "fp32"},
    {"train.eval_iters", "100"},
    {"train.eval_interval", "none"},  // no evaluation
    {"train.skip_train", "false"},
    {"train.reset_position_ids", "false"},
    {"train.reset_attention_mask", "false"},
    {"train.reset_at_sequences", "false"},
    {"train.eod_mask_loss", "false"},
    {"optim.optimizer", "adamw"},
    {"optim.min_lr", "0.0"},
    {"optim.lr_decay_style", "linear"},
    {"optim.lr_warmup_iters", "0"},
    {"optim.lr_warmup_samples", "0"},
    {"optim.lr_warmup_fraction", "none"},
    {"optim.lr_warmup_init", "0.0"},
    {"optim.lr_wsd_decay_style", "exponential"},
    {"optim.weight_decay", "0.01"},
    {"optim.clip_grad", "1.0"},
    {"optim.beta1", "0.9"},
    {"optim.beta2", "0.999"},
    {"optim.epsilon", "1e-8"},
    {"optim.initial_loss_scale", "4294967296"},
    {"optim.min_loss_scale", "1"},
    {"optim.loss_scale_window", "1000"},
    {"optim.hysteresis", "2"},
    {"data.split", "969,30,1"},
    {"data.num_dataset_builder_threads", "1"},
    {"data.mid_level_dataset_surplus", "0.005"},
    {"data.fim_data", "false"},
    {"data.fim_rate", "0.5"},
    {"data.fim_spm_rate", "0.5"},
    {"checkpoint.finetune", "false"},
    {"checkpoint.load_optim", "true"},
    {"checkpoint.save_optim", "true"},
    {"log.interval", "100"},
    {"log.params_norm", "false"},
    {"log.memory", "false"},
};

}  // namespace

std::span<const MegatronDefault> megatron_defaults() {
  return kDefaults;
}

void apply_megatron_defaults(ConfigTree& tree) {
  for (const MegatronDefault& row : megatron_defaults()) {
    const std::string key(row.key);
    // A verb may carry some of the sections only.
    const ConfigField* field = tree.find(key);
    if (field == nullptr) continue;
    const bool is_absent = row.value == "none" && field->ref.is_plain_number();
    tree.set_text(key, is_absent ? "0" : std::string(row.value), Origin::kMegatron,
                  {.where = "Megatron's default of " + key});
  }
}

}  // namespace phalanx
