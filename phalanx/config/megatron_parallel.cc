// Megatron's flags for layout and communication. See megatron.h for what a row means.
#include "phalanx/config/megatron_rows.h"

namespace phalanx {
namespace {

using namespace megatron_rows;

constexpr std::string_view kNoExperts = "Phalanx has no expert layers yet; drop it";
constexpr std::string_view kOverlap = "it changes when data travels between ranks, never a number";
constexpr std::string_view kStages = "write the stage boundaries as | in --model.pattern, e.g. \"*-*-|*-*-\"";
constexpr std::string_view kZero =
    "say --parallel.zero_stage=0..3 instead (0 shards nothing over data-parallel ranks, 1 the optimizer, 2 also gradients, 3 also parameters)";

constexpr MegatronFlag kRows[] = {
    value("--tensor-model-parallel-size", "parallel.tensor"),
    value("--pipeline-model-parallel-size", "parallel.pipeline"),
    turns("--sequence-parallel", "parallel.sequence_parallel", "true"),
    value("--context-parallel-size", "parallel.context"),
    no_words("--cp-comm-type", "the exchange of context parallelism cannot be chosen; drop it"),
    only("--expert-model-parallel-size", "1", "Phalanx has no expert layers yet, so only 1 makes sense"),
    only("--expert-tensor-parallel-size", "1", "Phalanx has no expert layers yet, so only 1 makes sense"),
    {"--num-layers-per-virtual-pipeline-stage", MegatronAction::kLayersPerChunk, FlagKind::kValue,
     "parallel.chunks", "", ""},
    value("--num-virtual-stages-per-pipeline-rank", "parallel.chunks"),
    no_value("--decoder-first-pipeline-num-layers", kStages),
    no_value("--decoder-last-pipeline-num-layers", kStages),
    no_value("--pipeline-model-parallel-layout", kStages),
    no_switch("--account-for-embedding-in-pipeline-split", kStages),
    no_switch("--account-for-loss-in-pipeline-split", kStages),
    turns("--use-distributed-optimizer", "parallel.zero_stage", "1"),
    always("--overlap-grad-reduce", kOverlap),
    always("--overlap-param-gather", kOverlap),
    always("--tp-comm-overlap", kOverlap),
    always("--no-overlap-p2p-communication", kOverlap),
    always("--overlap-param-gather-with-optimizer-step", kOverlap),
    always_value("--ddp-bucket-size", kOverlap),
    always_value("--ddp-num-buckets", kOverlap),
    only("--num-distributed-optimizer-instances", "1",
         "the optimizer is sharded over all data-parallel ranks"),
    no_switch("--use-megatron-fsdp", kZero),
    no_value("--data-parallel-sharding-strategy", kZero),
    no_switch("--use-torch-fsdp2", kZero),
    only("--distributed-backend", "nccl gloo",
         "GPUs of several processes talk through NCCL; threads of a process and CPU ranks use transports of "
         "their own, "
         "chosen by how the run is launched"),
    always_value("--distributed-timeout-minutes",
                 "the deadline of a collective is fixed, and changes no number"),
    always_value("--local-rank", "ranks are numbered by how the run is launched"),
    turns("--use-tp-pp-dp-mapping", "parallel.order", "tp-cp-pp-dp"),

    // Experts: known to everybody, not here yet.
    no_value("--num-experts", kNoExperts),
    no_value("--moe-layer-freq", kNoExperts),
    no_value("--moe-ffn-hidden-size", kNoExperts),
    no_value("--moe-router-topk", kNoExperts),
    no_words("--moe-router-load-balancing-type", kNoExperts),
    no_words("--moe-aux-loss-coeff", kNoExperts),
    no_value("--moe-z-loss-coeff", kNoExperts),
    no_switch("--moe-grouped-gemm", kNoExperts),
    no_value("--moe-token-dispatcher-type", kNoExperts),
    no_value("--moe-expert-capacity-factor", kNoExperts),
    no_value("--moe-shared-expert-intermediate-size", kNoExperts),
    no_value("--moe-router-score-function", kNoExperts),
    no_switch("--moe-permute-fusion", kNoExperts),

    // Older spellings that scripts still carry.
    only("--DDP-impl", "local torch", "gradients are summed by Phalanx's own data parallelism"),
    always("--no-async-tensor-model-parallel-allreduce", kOverlap),
    always("--no-contiguous-buffers-in-local-ddp", kOverlap),
    always("--no-scatter-gather-tensors-in-pipeline", kOverlap),
    no_value("--model-parallel-size", "say --tensor-model-parallel-size"),
    no_switch("--grad-reduce-in-bf16", "gradients are summed in fp32; drop it"),
};

}  // namespace

std::span<const MegatronFlag> megatron_parallel_flags() {
  return kRows;
}

}  // namespace phalanx
