// Why Megatron's options that are known by name only are refused, by what they belong to.
#include <algorithm>
#include <string>

#include "phalanx/config/megatron.h"

namespace phalanx {
namespace {

// `parts` of a name, separated by blanks: "moe" is part of moe-x, x-moe and x-moe-y, not of moes.
struct Theme {
  std::string_view reason;
  std::string_view parts;
};

constexpr std::string_view kExperts = "Phalanx has no expert layers yet; drop it";
constexpr std::string_view kReinforcement =
    "Phalanx trains on token files, not by reinforcement learning; drop it";
constexpr std::string_view kLowPrecision = "Phalanx has no 4-bit or 8-bit precision; drop it and say --bf16";
constexpr std::string_view kOtherModels = "Phalanx trains decoders of text only; drop it";
constexpr std::string_view kAttention =
    "Phalanx has no such attention; drop it, what there is stands in --help under [model]";
constexpr std::string_view kRotary =
    "drop it; --model.rope_scaling and --model.rope_scaling_factor say how positions are stretched";
constexpr std::string_view kOptimizer = "Phalanx has AdamW only; drop it";
constexpr std::string_view kRestart =
    "Phalanx does not restart ranks or inject faults; drop it, a run goes on from its last checkpoint when started again";
constexpr std::string_view kInference =
    "training does not generate text; drop it, and see phalanx generate --help";
constexpr std::string_view kOffload =
    "drop it; --train.offload_stash=true moves activations to the host, --recompute-granularity full saves them";
constexpr std::string_view kGraphs = "Phalanx does not record CUDA graphs; drop it";
constexpr std::string_view kCommunication = "how ranks exchange data cannot be tuned; drop it";
constexpr std::string_view kCheckpoint =
    "how a checkpoint is written cannot be tuned; drop it, what there is stands in --help under [checkpoint]";
constexpr std::string_view kTokenizer =
    "the tokenizer takes no such setting; drop it, or put it into the tokenizer's file";
constexpr std::string_view kLogging =
    "Phalanx does not record that; drop it, metrics.jsonl holds what is recorded";
constexpr std::string_view kOtherData = "Phalanx reads plain pre-training data only; drop it";
constexpr std::string_view kMamba =
    "Mamba layers take no such setting; drop it, --help lists theirs under [model]";
constexpr std::string_view kLinearAttention = "Phalanx has no linear-attention layers; drop it";
constexpr std::string_view kRemaining = "Phalanx has nothing like it; drop it, --help lists what counts";

// The first that matches decides.
constexpr Theme kThemes[] = {
    {kReinforcement, "rl grpo langrl refit"},
    {kInference, "inference flash-decode prefill speculative chunked-prefill"},
    {kExperts, "moe expert experts ep"},
    {kLowPrecision, "fp8 fp4 mxfp8 te"},
    {kOtherModels,
     "bert biencoder retriever ict dino vision img swin patch-dim channels classes mask-type encoder decoder"},
    {kAttention, "mtp dsa mla lora kitchen rope-freq"},
    {kMamba, "mamba"},
    {kLinearAttention, "linear-attention linear-conv linear-key linear-num linear-value gdp"},
    {kRotary, "rope rotary yarn mrope mscale"},
    {kOptimizer, "muon lion sgd"},
    {kRestart, "fault inprocess ft straggler autoresume injection"},
    {kGraphs, "cuda-graph cuda-graphs"},
    {kOffload, "offload offloading"},
    {kLogging, "wandb one-logger otel log tensorboard flight-recorder profiler profile memory-history"},
    {kCheckpoint, "ckpt non-persistent checkpoint async"},
    {kTokenizer, "tokenizer tiktoken"},
    {kCommunication,
     "tp-comm ddp fsdp nccl sharp overlap grad-reduce param-gather process-groups data-sharding"},
    {kOtherData, "logits sft data-path"},
};

// Whether one of `parts` stands in `name` between dashes or ends.
bool has_part(const std::string& name, std::string_view parts) {
  size_t begin = parts.find_first_not_of(' ');
  while (begin != std::string_view::npos) {
    const size_t end = std::min(parts.find(' ', begin), parts.size());
    if (name.find("-" + std::string(parts.substr(begin, end - begin)) + "-") != std::string::npos)
      return true;
    begin = parts.find_first_not_of(' ', end);
  }
  return false;
}

}  // namespace

std::string_view megatron_other_reason(std::string_view name) {
  std::string dashed = "-" + std::string(name) + "-";
  std::replace(dashed.begin(), dashed.end(), '_', '-');
  for (const Theme& theme : kThemes) {
    if (has_part(dashed, theme.parts)) return theme.reason;
  }
  return kRemaining;
}

}  // namespace phalanx
