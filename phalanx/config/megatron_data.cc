// Megatron's flags for data, tokenizer, checkpoints, evaluation and logging. See megatron.h for what a row means.
#include "phalanx/config/megatron_rows.h"

namespace phalanx {
namespace {

using namespace megatron_rows;

constexpr std::string_view kNoWandb = "say --tensorboard-dir instead; metrics.jsonl holds the same numbers";
constexpr std::string_view kNoProfile = "Phalanx has no profiler window; drop it and run under nsys or perf";
constexpr std::string_view kFormat =
    "checkpoints have one format of their own: a manifest and safetensors files that load in any layout";

constexpr MegatronFlag kRows[] = {
    list("--data-path", "data.data_path"),
    list("--train-data-path", "data.train_data_path"),
    list("--valid-data-path", "data.valid_data_path"),
    list("--test-data-path", "data.test_data_path"),
    value("--data-args-path", "data.data_args_path"),
    value("--per-split-data-args-path", "data.per_split_data_args_path"),
    value("--split", "data.split"),
    value("--data-cache-path", "data.data_cache_path"),
    value("--num-dataset-builder-threads", "data.num_dataset_builder_threads"),
    turns("--mock-data", "data.mock_data", "true"),
    always_value("--num-workers", "token files are memory-mapped; there are no worker processes"),
    only("--dataloader-type", "single",
         "samples are always read in index order from the number already consumed"),
    no_switch("--no-mmap-bin-files", "data files are always memory-mapped; drop it"),
    turns("--reset-position-ids", "train.reset_position_ids", "true"),
    turns("--reset-attention-mask", "train.reset_attention_mask", "true"),
    turns("--dataloader-inter-document-masking", "train.reset_at_sequences", "true"),
    turns("--eod-mask-loss", "train.eod_mask_loss", "true"),
    always("--no-create-attention-mask-in-dataloader",
           "the loader never builds a mask; attention works from document ids"),
    value("--mid-level-dataset-surplus", "data.mid_level_dataset_surplus"),
    only("--data-impl", "mmap infer", "token files are always memory-mapped"),
    turns("--fim-data", "data.fim_data", "true"),
    value("--fim-rate", "data.fim_rate"),
    value("--fim-spm-rate", "data.fim_spm_rate"),
    value("--fim-split-sample", "data.fim_split_sample"),
    value("--fim-fragment-rate", "data.fim_fragment_rate"),
    value("--fim-no-prefix", "data.fim_no_prefix"),
    value("--fim-prefix-token", "data.fim_prefix_token"),
    value("--fim-middle-token", "data.fim_middle_token"),
    value("--fim-suffix-token", "data.fim_suffix_token"),
    value("--fim-pad-token", "data.fim_pad_token"),
    value("--fim-eod-token", "data.fim_eod_token"),
    value("--tokenizer-type", "data.tokenizer_type"),
    value("--tokenizer-model", "data.tokenizer_model"),
    value("--vocab-file", "data.vocab_file"),
    value("--merge-file", "data.merge_file"),
    only("--vocab-extra-ids", "0", "the vocabulary has no extra ids"),

    value("--save", "checkpoint.save"),
    value("--save-interval", "checkpoint.save_interval"),
    value("--persistent-save-interval", "checkpoint.save_interval"),
    value("--save-retain-interval", "checkpoint.save_retain_interval"),
    value("--load", "checkpoint.load"),
    value("--ckpt-step", "checkpoint.load_step"),
    only("--ckpt-format", "torch_dist", kFormat),
    only("--dist-ckpt-format", "torch_dist", kFormat),
    always("--use-dist-ckpt", kFormat),
    no_switch("--async-save", "a save is finished before the next step begins; drop it"),
    turns("--finetune", "checkpoint.finetune", "true"),
    no_value("--pretrained-checkpoint", "say --load DIR --finetune"),
    turns("--no-load-optim", "checkpoint.load_optim", "false"),
    turns("--no-save-optim", "checkpoint.save_optim", "false"),
    always("--no-load-rng", "there is no random state: random bits follow from seed and step"),
    always("--no-save-rng", "there is no random state: random bits follow from seed and step"),
    no_switch("--use-checkpoint-args",
              "say phalanx train RUN_DIR, which goes on with a run as it was configured"),
    no_switch("--exit-on-missing-checkpoint", "there is no switch for a missing checkpoint; drop it"),
    no_value("--dist-ckpt-strictness",
             "how missing and unexpected tensors are met cannot be chosen; drop it"),
    always("--dist-ckpt-optim-fully-reshardable",
           "every checkpoint, optimizer included, loads in any layout"),
    no_switch("--no-ckpt-fully-parallel-save", "which ranks write a checkpoint cannot be chosen; drop it"),

    value("--eval-iters", "train.eval_iters"),
    value("--eval-interval", "train.eval_interval"),
    turns("--skip-train", "train.skip_train", "true"),
    value("--log-interval", "log.interval"),
    always("--log-throughput", "every step's metrics hold TFLOP/s and MFU"),
    turns("--log-params-norm", "log.params_norm", "true"),
    no_switch("--log-num-zeros-in-grad", "zeros in the gradient are not counted; drop it"),
    only("--timing-log-level", "0", "the metrics of a step hold its time; there are no finer timers"),
    only("--timing-log-option", "minmax", "there are no per-rank timers to choose from"),
    value("--tensorboard-dir", "log.tensorboard_dir"),
    always_value("--tensorboard-queue-size", "events are written as they come"),
    only("--tensorboard-log-interval", "1", "every step is recorded"),
    no_switch("--log-timers-to-tensorboard", "there are no timers beyond the time of a step; drop it"),
    turns("--log-memory-to-tensorboard", "log.memory", "true"),
    no_value("--wandb-project", kNoWandb),
    no_value("--wandb-exp-name", kNoWandb),
    no_value("--wandb-save-dir", kNoWandb),
    no_switch("--profile", kNoProfile),
    no_value("--profile-step-start", kNoProfile),
    no_value("--profile-step-end", kNoProfile),
    no_switch("--log-straggler", "Phalanx has no straggler report yet; drop it"),
    only("--rerun-mode", "disabled", "a step is never run twice"),
};

}  // namespace

std::span<const MegatronFlag> megatron_data_flags() {
  return kRows;
}

}  // namespace phalanx
