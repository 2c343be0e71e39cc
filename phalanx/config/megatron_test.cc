// What the options that Megatron's users know by heart do here, one by one. The list is its manual's, not our tables'.
#include "phalanx/config/megatron.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "phalanx/config/test_sections.h"

namespace phalanx {
namespace {

using config_testing::error_text;
using config_testing::FullRun;
using config_testing::split_words;
using testing::HasSubstr;

struct Sets {
  const char* line;
  const char* key;
  const char* text;
};

constexpr Sets kSets[] = {
    {"--tensor-model-parallel-size 2", "parallel.tensor", "2"},
    {"--pipeline-model-parallel-size 2", "parallel.pipeline", "2"},
    {"--sequence-parallel", "parallel.sequence_parallel", "true"},
    {"--context-parallel-size 2", "parallel.context", "2"},
    {"--num-layers-per-virtual-pipeline-stage 2 --num-layers 12 --pipeline-model-parallel-size 3",
     "parallel.chunks", "2"},
    {"--num-virtual-stages-per-pipeline-rank 3", "parallel.chunks", "3"},
    {"--use-distributed-optimizer", "parallel.zero_stage", "1"},
    {"--use-tp-pp-dp-mapping", "parallel.order", "tp-cp-pp-dp"},
    {"--num-layers 4", "model.num_layers", "4"},
    {"--hidden-size 64", "model.hidden_size", "64"},
    {"--num-attention-heads 8", "model.num_attention_heads", "8"},
    {"--ffn-hidden-size 256", "model.ffn_hidden_size", "256"},
    {"--kv-channels 16", "model.kv_channels", "16"},
    {"--group-query-attention", "model.num_query_groups", "1"},
    {"--group-query-attention --num-query-groups 2", "model.num_query_groups", "2"},
    {"--num-query-groups 2 --group-query-attention", "model.num_query_groups", "2"},
    {"--num-query-groups 2", "model.num_query_groups", "2"},
    {"--seq-length 128", "model.seq_length", "128"},
    {"--max-position-embeddings 256", "model.max_position_embeddings", "256"},
    {"--position-embedding-type rope", "model.position_embedding", "rope"},
    {"--position-embedding-type none", "model.position_embedding", "none"},
    {"--position-embedding-type learned_absolute", "model.position_embedding", "learned_absolute"},
    {"--rotary-base 500000", "model.rotary_base", "5e+05"},
    {"--rotary-percent 0.5", "model.rotary_percent", "0.5"},
    {"--use-rope-scaling", "model.rope_scaling", "llama3"},
    {"--rope-scaling-factor 32", "model.rope_scaling_factor", "32.0"},
    {"--normalization RMSNorm", "model.normalization", "rms_norm"},
    {"--normalization LayerNorm", "model.normalization", "layer_norm"},
    {"--norm-epsilon 1e-6", "model.norm_epsilon", "1e-06"},
    {"--apply-layernorm-1p", "model.norm_1p", "true"},
    {"--qk-layernorm", "model.qk_norm", "true"},
    {"--swiglu", "model.activation", "swiglu"},
    {"--squared-relu", "model.activation", "squared_relu"},
    {"--disable-bias-linear", "model.bias", "false"},
    {"--add-qkv-bias", "model.qkv_bias", "true"},
    {"--untie-embeddings-and-output-weights", "model.tied_embeddings", "false"},
    {"--make-vocab-size-divisible-by 64", "model.make_vocab_size_divisible_by", "64"},
    {"--hidden-dropout 0.25", "model.hidden_dropout", "0.25"},
    {"--attention-dropout 0", "model.attention_dropout", "0.0"},
    {"--init-method-std .006", "model.init_std", "0.006"},
    {"--window-size 4095,0", "model.window_size", "4096"},
    {"--window-size (7,_0)", "model.window_size", "8"},
    {"--window-size -1,0", "model.window_size", "0"},
    {"--hybrid-layer-pattern *-*-", "model.pattern", "*-*-"},
    {"--hybrid-override-pattern M-*-", "model.pattern", "M-*-"},
    {"--hybrid-attention-ratio 0.08", "model.hybrid_attention_ratio", "0.08"},
    {"--hybrid-mlp-ratio 0.5", "model.hybrid_mlp_ratio", "0.5"},
    {"--spec megatron.core.models.mamba.mamba_layer_specs mamba_stack_spec", "model.is_hybrid_model", "true"},
    {"--is-hybrid-model", "model.is_hybrid_model", "true"},
    {"--mamba-state-dim 64", "model.mamba_state_dim", "64"},
    {"--mamba-head-dim 32", "model.mamba_head_dim", "32"},
    {"--mamba-num-groups 4", "model.mamba_num_groups", "4"},
    {"--mamba-num-heads 24", "model.mamba_num_heads", "24"},
    {"--vocab-size 50257", "model.vocab_size", "50257"},
    {"--recompute-granularity full", "train.recompute", "full"},
    {"--recompute-granularity selective", "train.recompute", "selective"},
    {"--recompute-activations", "train.recompute", "selective"},
    {"--recompute-activations --recompute-granularity selective", "train.recompute", "selective"},
    {"--recompute-method uniform", "train.recompute_method", "uniform"},
    {"--recompute-method block", "train.recompute_method", "block"},
    {"--recompute-num-layers 2", "train.recompute_num_layers", "2"},
    {"--distribute-saved-activations", "train.distribute_saved_activations", "true"},
    {"--recompute-modules core_attn mlp", "train.recompute_modules", "core_attn,mlp"},
    {"--micro-batch-size 4", "train.micro_batch_size", "4"},
    {"--global-batch-size 64", "train.global_batch_size", "64"},
    {"--rampup-batch-size 16 16 5859375", "train.rampup_batch_size", "16,16,5859375"},
    {"--train-iters 1000", "train.train_iters", "1000"},
    {"--train-samples 5000", "train.train_samples", "5000"},
    {"--seed 42", "train.seed", "42"},
    {"--exit-interval 10", "train.exit_interval", "10"},
    {"--exit-duration-in-mins 230", "train.exit_duration_minutes", "230.0"},
    {"--deterministic-mode", "runtime.deterministic", "true"},
    {"--layernorm-epsilon 1e-6", "model.norm_epsilon", "1e-06"},
    {"--check-for-nan-in-loss-and-grad", "train.check_for_nan", "true"},
    {"--no-check-for-nan-in-loss-and-grad", "train.check_for_nan", "false"},
    {"--iterations-to-skip 3 5 8", "train.iterations_to_skip", "3,5,8"},
    {"--optimizer adam", "optim.optimizer", "adamw"},
    {"--lr 6.0e-5", "optim.lr", "6e-05"},
    {"--min-lr 6.0e-6", "optim.min_lr", "6e-06"},
    {"--lr-decay-style constant", "optim.lr_decay_style", "constant"},
    {"--lr-decay-style linear", "optim.lr_decay_style", "linear"},
    {"--lr-decay-style cosine", "optim.lr_decay_style", "cosine"},
    {"--lr-decay-style inverse-square-root", "optim.lr_decay_style", "inverse_square_root"},
    {"--lr-decay-style WSD", "optim.lr_decay_style", "wsd"},
    {"--lr-decay-iters 9", "optim.lr_decay_iters", "9"},
    {"--lr-decay-samples 9", "optim.lr_decay_samples", "9"},
    {"--lr-warmup-iters 9", "optim.lr_warmup_iters", "9"},
    {"--lr-warmup-samples 9", "optim.lr_warmup_samples", "9"},
    {"--lr-warmup-fraction .001", "optim.lr_warmup_fraction", "0.001"},
    {"--lr-warmup-init 1e-7", "optim.lr_warmup_init", "1e-07"},
    {"--lr-wsd-decay-style minus_sqrt", "optim.lr_wsd_decay_style", "minus_sqrt"},
    {"--lr-wsd-decay-iters 9", "optim.lr_wsd_decay_iters", "9"},
    {"--lr-wsd-decay-samples 9", "optim.lr_wsd_decay_samples", "9"},
    {"--weight-decay 0.1", "optim.weight_decay", "0.1"},
    {"--clip-grad 0.5", "optim.clip_grad", "0.5"},
    {"--adam-beta1 0.8", "optim.beta1", "0.8"},
    {"--adam-beta2 0.95", "optim.beta2", "0.95"},
    {"--adam-eps 1e-6", "optim.epsilon", "1e-06"},
    {"--bf16", "train.dtype", "bf16"},
    {"--fp16", "train.dtype", "fp16"},
    {"--loss-scale 1024", "optim.loss_scale", "1024.0"},
    {"--initial-loss-scale 65536", "optim.initial_loss_scale", "65536.0"},
    {"--min-loss-scale 2.0", "optim.min_loss_scale", "2.0"},
    {"--loss-scale-window 500", "optim.loss_scale_window", "500"},
    {"--hysteresis 3", "optim.hysteresis", "3"},
    {"--data-path 0.3 a 0.7 b,c", "data.data_path", "0.3,a,0.7,b\\,c"},
    {"--train-data-path a", "data.train_data_path", "a"},
    {"--valid-data-path a", "data.valid_data_path", "a"},
    {"--test-data-path a", "data.test_data_path", "a"},
    {"--data-args-path f", "data.data_args_path", "f"},
    {"--per-split-data-args-path f", "data.per_split_data_args_path", "f"},
    {"--data-cache-path c", "data.data_cache_path", "c"},
    {"--num-dataset-builder-threads 4", "data.num_dataset_builder_threads", "4"},
    {"--mid-level-dataset-surplus 0.01", "data.mid_level_dataset_surplus", "0.01"},
    {"--fim-data", "data.fim_data", "true"},
    {"--fim-rate 0.25", "data.fim_rate", "0.25"},
    {"--fim-spm-rate 0.25", "data.fim_spm_rate", "0.25"},
    {"--fim-split-sample s", "data.fim_split_sample", "s"},
    {"--fim-fragment-rate 0.25", "data.fim_fragment_rate", "0.25"},
    {"--fim-no-prefix p", "data.fim_no_prefix", "p"},
    {"--fim-prefix-token t", "data.fim_prefix_token", "t"},
    {"--fim-middle-token t", "data.fim_middle_token", "t"},
    {"--fim-suffix-token t", "data.fim_suffix_token", "t"},
    {"--fim-pad-token t", "data.fim_pad_token", "t"},
    {"--fim-eod-token t", "data.fim_eod_token", "t"},
    {"--split 949,50,1", "data.split", "949,50,1"},
    {"--mock-data", "data.mock_data", "true"},
    {"--reset-position-ids", "train.reset_position_ids", "true"},
    {"--reset-attention-mask", "train.reset_attention_mask", "true"},
    {"--dataloader-inter-document-masking", "train.reset_at_sequences", "true"},
    {"--eod-mask-loss", "train.eod_mask_loss", "true"},
    {"--tokenizer-type GPT2BPETokenizer", "data.tokenizer_type", "GPT2BPETokenizer"},
    {"--tokenizer-model m", "data.tokenizer_model", "m"},
    {"--vocab-file v", "data.vocab_file", "v"},
    {"--merge-file m", "data.merge_file", "m"},
    {"--save d", "checkpoint.save", "d"},
    {"--save-interval 10", "checkpoint.save_interval", "10"},
    {"--save-retain-interval 100", "checkpoint.save_retain_interval", "100"},
    {"--load d", "checkpoint.load", "d"},
    {"--ckpt-step 7", "checkpoint.load_step", "7"},
    {"--finetune", "checkpoint.finetune", "true"},
    {"--no-load-optim", "checkpoint.load_optim", "false"},
    {"--no-save-optim", "checkpoint.save_optim", "false"},
    {"--eval-iters 10", "train.eval_iters", "10"},
    {"--eval-interval 1000", "train.eval_interval", "1000"},
    {"--skip-train", "train.skip_train", "true"},
    {"--log-interval 1", "log.interval", "1"},
    {"--log-params-norm", "log.params_norm", "true"},
    {"--tensorboard-dir t", "log.tensorboard_dir", "t"},
    {"--log-memory-to-tensorboard", "log.memory", "true"},
};

constexpr const char* kAccepted[] = {"--num-workers 1",
                                     "--log-throughput",
                                     "--expert-model-parallel-size 1",
                                     "--expert-tensor-parallel-size 1",
                                     "--num-distributed-optimizer-instances 1",
                                     "--distributed-backend nccl",
                                     "--attention-backend auto",
                                     "--transformer-impl local",
                                     "--disable-mamba-mem-eff-path",
                                     "--mamba-training-ssm-states-dtype fp32",
                                     "--exit-signal-handler",
                                     "--manual-gc",
                                     "--calculate-per-token-loss",
                                     "--no-masked-softmax-fusion",
                                     "--cross-entropy-loss-fusion",
                                     "--accumulate-allreduce-grads-in-fp32",
                                     "--attention-softmax-in-fp32",
                                     "--dataloader-type single",
                                     "--no-create-attention-mask-in-dataloader",

                                     "--vocab-extra-ids 0",
                                     "--no-load-rng",
                                     "--no-save-rng",
                                     "--dist-ckpt-optim-fully-reshardable",
                                     "--timing-log-level 0",
                                     "--timing-log-option minmax",
                                     "--tensorboard-log-interval 1",
                                     "--rerun-mode disabled",
                                     "--distributed-backend gloo",
                                     "--overlap-grad-reduce",
                                     "--overlap-param-gather",
                                     "--tp-comm-overlap",
                                     "--no-overlap-p2p-communication",
                                     "--ddp-bucket-size 40000000",
                                     "--ddp-num-buckets 4",
                                     "--overlap-param-gather-with-optimizer-step",
                                     "--distributed-timeout-minutes 60",
                                     "--no-gradient-accumulation-fusion",
                                     "--ckpt-format torch_dist",
                                     "--use-flash-attn",
                                     "--weight-decay-incr-style constant",
                                     "--no-bias-gelu-fusion",
                                     "--no-bias-swiglu-fusion",
                                     "--no-bias-dropout-fusion",
                                     "--no-rope-fusion",
                                     "--no-persist-layer-norm",
                                     "--use-dist-ckpt",
                                     "--dist-ckpt-format torch_dist",
                                     "--manual-gc-interval 10",
                                     "--no-manual-gc-eval",
                                     "--apply-query-key-layer-scaling",
                                     "--no-query-key-layer-scaling",
                                     "--local-rank 0",
                                     "--local_rank 0",
                                     "--no-async-tensor-model-parallel-allreduce",
                                     "--data-impl mmap",
                                     "--data-impl infer",
                                     "--DDP-impl local",
                                     "--tensorboard-queue-size 5"};

// Refused, with the values that a script would give them; the first word is the flag.
constexpr const char* kRefused[] = {"--cp-comm-type p2p",
                                    "--expert-model-parallel-size 2",
                                    "--expert-tensor-parallel-size 2",
                                    "--decoder-first-pipeline-num-layers 3",
                                    "--decoder-last-pipeline-num-layers 3",
                                    "--pipeline-model-parallel-layout Et|tL",
                                    "--account-for-embedding-in-pipeline-split",
                                    "--account-for-loss-in-pipeline-split",
                                    "--num-distributed-optimizer-instances 2",
                                    "--use-megatron-fsdp",
                                    "--data-parallel-sharding-strategy optim",
                                    "--use-torch-fsdp2",
                                    "--quick-geglu",
                                    "--multi-latent-attention",
                                    "--mtp-num-layers 1",
                                    "--attention-backend flash",
                                    "--transformer-impl transformer_engine",
                                    "--spec a b",
                                    "--mamba-training-ssm-states-dtype bf16",
                                    "--position-embedding-type yarn",
                                    "--num-experts 8",
                                    "--moe-layer-freq 1",
                                    "--moe-ffn-hidden-size 64",
                                    "--moe-router-topk 2",
                                    "--moe-router-load-balancing-type aux_loss none",
                                    "--moe-aux-loss-coeff 0.01",
                                    "--moe-z-loss-coeff 0.001",
                                    "--moe-grouped-gemm",
                                    "--moe-token-dispatcher-type alltoall",
                                    "--moe-expert-capacity-factor 1.0",
                                    "--moe-shared-expert-intermediate-size 64",
                                    "--moe-router-score-function sigmoid",
                                    "--moe-permute-fusion",
                                    "--optimizer sgd",
                                    "--lr-decay-style step",
                                    "--override-opt-param-scheduler",
                                    "--override-opt_param-scheduler",
                                    "--use-checkpoint-opt-param-scheduler",
                                    "--optimizer-cpu-offload",
                                    "--muon-momentum 0.9",
                                    "--fp8-format hybrid",
                                    "--fp8-recipe delayed",
                                    "--use-precision-aware-optimizer",
                                    "--dataloader-type cyclic",
                                    "--no-mmap-bin-files",
                                    "--vocab-extra-ids 100",
                                    "--ckpt-format torch",
                                    "--dist-ckpt-format zarr",
                                    "--data-impl cached",
                                    "--weight-decay-incr-style linear",
                                    "--start-weight-decay 0.1",
                                    "--fp32-residual-connection",
                                    "--no-pad-vocab-size",
                                    "--async-save",
                                    "--pretrained-checkpoint d",
                                    "--use-checkpoint-args",
                                    "--exit-on-missing-checkpoint",
                                    "--dist-ckpt-strictness raise_all",
                                    "--no-ckpt-fully-parallel-save",
                                    "--log-num-zeros-in-grad",
                                    "--timing-log-level 2",
                                    "--timing-log-option all",
                                    "--tensorboard-log-interval 10",
                                    "--log-timers-to-tensorboard",
                                    "--wandb-project p",
                                    "--wandb-exp-name n",
                                    "--wandb-save-dir d",
                                    "--profile",
                                    "--profile-step-start 10",
                                    "--profile-step-end 12",
                                    "--log-straggler",
                                    "--rerun-mode validate_results",
                                    "--window-size 128,128",
                                    "--window-size 128",
                                    "--rampup-batch-size 16 16"};

// A fix is an instruction.
auto SaysWhatToDo() {
  const auto fix = [](const char* words) { return testing::ContainsRegex(std::string("Fix: .*") + words); };
  return testing::AnyOf(fix("drop it"), fix("say "), fix("write "), fix("separate them"), fix("instead"),
                        fix("give "));
}

ParsedFlags parse(const FullRun& run, const std::string& line) {
  return parse_flags(split_words(line), run.tree, {});
}

TEST(MegatronFlags, SetWhatTheyStandFor) {
  for (const Sets& c : kSets) {
    FullRun run;
    // With a file no default hides whether the flag did it; what turns something off starts from on.
    if (std::string(c.text) == "false") run.tree.set_text(c.key, "true", Origin::kFile, {});
    const ParsedFlags flags = parse(run, c.line);
    EXPECT_TRUE(flags.used_megatron);
    EXPECT_TRUE(flags.positionals.empty()) << c.line;
    apply_flags(run.tree, flags, true);
    EXPECT_EQ(run.tree.text(c.key), c.text) << c.line;
    EXPECT_EQ(run.tree.at(c.key).origin, Origin::kFlag) << c.line;
  }
}

TEST(MegatronFlags, WithoutEffectAreAcceptedWithANote) {
  for (const std::string line : kAccepted) {
    FullRun run;
    const ParsedFlags flags = parse(run, line);
    EXPECT_TRUE(flags.assignments.empty() && flags.positionals.empty()) << line;
    ASSERT_EQ(flags.notes.size(), 1u) << line;
    EXPECT_THAT(flags.notes[0], testing::StartsWith(line + " has no effect: "));
  }
}

TEST(MegatronFlags, UnsupportedOnesNameThemselves) {
  for (const std::string line : kRefused) {
    const std::string flag = split_words(line)[0];
    FullRun run;
    const std::string message = error_text(ErrorKind::kUsage, [&] { parse(run, line); });
    EXPECT_THAT(message, testing::StartsWith(flag + ": got ")) << line;
    EXPECT_THAT(message, SaysWhatToDo()) << line;
  }
}

// Those that have no row of their own.
TEST(MegatronFlags, RefusedByNameSayWhatToDo) {
  for (const auto list : {megatron_other_switches(), megatron_other_values(), megatron_other_words()}) {
    for (const std::string_view name : list) {
      FullRun run;
      const std::string message =
          error_text(ErrorKind::kUsage, [&] { parse_flags({"--" + std::string(name)}, run.tree, {}); });
      EXPECT_THAT(message, SaysWhatToDo()) << name;
    }
  }
  const std::pair<const char*, const char*> cases[] = {
      {"moe-deepep-num-sms", "no expert layers"},
      {"rl-profile-dir", "not by reinforcement learning"},
      {"log-energy", "does not record that"},
      {"one-logger-async", "does not record that"},
      {"async-strategy", "how a checkpoint is written"},
      {"lion-beta1", "AdamW only"},
      {"glu-linear-offset", "nothing like it"},
      {"no-rope-freq", "no such attention"},
      {"mamba-made-up", "Mamba layers take no such"},
      {"mamba-inference-ssm-states-dtype", "does not generate"},
      {"linear-num-key-heads", "no linear-attention"},
      {"fp8_margin", "no 4-bit or 8-bit precision"}};
  for (const auto& [name, reason] : cases)
    EXPECT_THAT(megatron_other_reason(name), HasSubstr(reason)) << name;
}

TEST(MegatronFlags, TheThreeListsAreTheWholeManual) {
  std::set<std::string> flags;
  for (const Sets& c : kSets) flags.insert(split_words(c.line)[0]);
  for (const char* line : kAccepted) flags.insert(split_words(line)[0]);
  for (const char* line : kRefused) flags.insert(split_words(line)[0]);
  flags.erase("--override-opt_param-scheduler");  // a second spelling
  // The manual's; those that scripts carry besides; of Mamba: 4 that the manual does not know, 2 that Megatron dropped.
  EXPECT_EQ(flags.size(), 198u + 39 + 4 + 2);
  for (const std::string& flag : flags) EXPECT_TRUE(find_megatron_flag(flag).has_value()) << flag;
}

}  // namespace
}  // namespace phalanx
