// Megatron's flags for training, optimizer, schedule and precision. See megatron.h for what a row means.
#include "phalanx/config/megatron_rows.h"

namespace phalanx {
namespace {

using namespace megatron_rows;

constexpr std::string_view kNoFp8 = "Phalanx has no 8-bit precision: say --bf16 and drop it";
constexpr std::string_view kResumedSchedule =
    "a resumed run follows the schedule of its own configuration; give the values you want and drop it";

constexpr std::string_view kConstantDecay =
    "the weight decay is the same in every step: say --weight-decay VALUE";

constexpr MegatronFlag kRows[] = {
    value("--micro-batch-size", "train.micro_batch_size"),
    value("--global-batch-size", "train.global_batch_size"),
    list("--rampup-batch-size", "train.rampup_batch_size", "3"),
    value("--train-iters", "train.train_iters"),
    value("--train-samples", "train.train_samples"),
    value("--seed", "train.seed"),
    value("--exit-interval", "train.exit_interval"),
    value("--exit-duration-in-mins", "train.exit_duration_minutes"),
    always("--exit-signal-handler", "SIGTERM and SIGINT always save and leave"),
    always("--manual-gc", "there is no garbage collector"),
    always("--calculate-per-token-loss", "the loss is always the mean over all unmasked tokens of the step"),
    always_value("--manual-gc-interval", "there is no garbage collector"),
    always("--no-manual-gc-eval", "there is no garbage collector"),
    always("--disable-manual-gc-eval", "there is no garbage collector"),
    always("--no-gradient-accumulation-fusion",
           "kernels are chosen by device and shape, and fusing changes no equation"),
    always("--no-masked-softmax-fusion", "there is no separate masked-softmax kernel to fuse"),
    always("--cross-entropy-loss-fusion",
           "output projection and cross-entropy are always one fused operation"),
    turns("--deterministic-mode", "runtime.deterministic", "true"),
    turns("--check-for-nan-in-loss-and-grad", "train.check_for_nan", "true"),
    turns("--no-check-for-nan-in-loss-and-grad", "train.check_for_nan", "false"),
    list("--iterations-to-skip", "train.iterations_to_skip"),

    choice("--optimizer", "optim.optimizer", "adam=adamw",
           "Phalanx has AdamW only, which Megatron calls adam"),
    value("--lr", "optim.lr"),
    value("--min-lr", "optim.min_lr"),
    choice("--lr-decay-style", "optim.lr_decay_style",
           "constant=constant linear=linear cosine=cosine inverse-square-root=inverse_square_root WSD=wsd",
           "Phalanx has no other schedule"),
    value("--lr-decay-iters", "optim.lr_decay_iters"),
    value("--lr-decay-samples", "optim.lr_decay_samples"),
    value("--lr-warmup-iters", "optim.lr_warmup_iters"),
    value("--lr-warmup-samples", "optim.lr_warmup_samples"),
    value("--lr-warmup-fraction", "optim.lr_warmup_fraction"),
    value("--lr-warmup-init", "optim.lr_warmup_init"),
    choice("--lr-wsd-decay-style", "optim.lr_wsd_decay_style",
           "exponential=exponential linear=linear cosine=cosine minus_sqrt=minus_sqrt",
           "Phalanx has no other shape"),
    value("--lr-wsd-decay-iters", "optim.lr_wsd_decay_iters"),
    value("--lr-wsd-decay-samples", "optim.lr_wsd_decay_samples"),
    value("--weight-decay", "optim.weight_decay"),
    only("--weight-decay-incr-style", "constant", "the weight decay is the same in every step"),
    no_value("--start-weight-decay", kConstantDecay),
    no_value("--end-weight-decay", kConstantDecay),
    value("--clip-grad", "optim.clip_grad"),
    value("--adam-beta1", "optim.beta1"),
    value("--adam-beta2", "optim.beta2"),
    value("--adam-eps", "optim.epsilon"),
    no_switch("--override-opt-param-scheduler", kResumedSchedule),
    no_switch("--use-checkpoint-opt-param-scheduler", kResumedSchedule),
    no_switch("--optimizer-cpu-offload", "the optimizer state stays on the device; drop it"),
    no_value("--muon-momentum", "Phalanx has AdamW only; drop it"),

    turns("--bf16", "train.dtype", "bf16"),
    turns("--fp16", "train.dtype", "fp16"),
    no_value("--fp8-format", kNoFp8),
    no_value("--fp8-recipe", kNoFp8),
    value("--loss-scale", "optim.loss_scale"),
    value("--initial-loss-scale", "optim.initial_loss_scale"),
    value("--min-loss-scale", "optim.min_loss_scale"),
    value("--loss-scale-window", "optim.loss_scale_window"),
    value("--hysteresis", "optim.hysteresis"),
    always("--accumulate-allreduce-grads-in-fp32", "gradients are always summed in fp32 or wider"),
    always("--attention-softmax-in-fp32", "attention probabilities are always computed in fp32 or wider"),
    no_switch("--use-precision-aware-optimizer",
              "masters and moments are fp32 (fp64 under --dtype fp64); drop it"),

    // Older spellings that scripts still carry.
    no_value("--batch-size", "say --micro-batch-size"),
    no_value("--warmup", "say --lr-warmup-fraction"),
    no_value("--step-batch-size-schedule", "say --rampup-batch-size START INCREMENT SAMPLES"),
    only("--empty-unused-memory-level", "0", "cached device memory is kept for the next step"),
};

}  // namespace

std::span<const MegatronFlag> megatron_train_flags() {
  return kRows;
}

}  // namespace phalanx
