// Megatron's flags for layout and communication. See megatron.h for what a row means.
#include "phalanx/config/megatron_rows.h"

namespace phalanx {
namespace {

using namespace megatron_rows;

constexpr std::string_view kNoExperts = "Phalanx has no expert layers yet; drop it";
constexpr std::string_view kNoOverlap = "Phalanx has no switch for overlapping this communication; drop it";
constexpr std::string_view kStages = "write the stage boundaries as | in --model.pattern, e.g. \"*-*-|*-*-\"";
constexpr std::string_view kZero =
    "sharding over data-parallel ranks is --parallel.zero_stage=0..3 (0 none, 1 "
    "optimizer, 2 also gradients, 3 also parameters)";

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
    no_switch("--overlap-grad-reduce", kNoOverlap),
    no_switch("--overlap-param-gather", kNoOverlap),
    no_switch("--tp-comm-overlap", kNoOverlap),
    no_switch("--no-overlap-p2p-communication", kNoOverlap),
    no_value("--ddp-bucket-size", "the size of gradient buckets cannot be set; drop it"),
    only("--num-distributed-optimizer-instances", "1",
         "the optimizer is sharded over all data-parallel ranks"),
    no_switch("--use-megatron-fsdp", kZero),
    no_value("--data-parallel-sharding-strategy", kZero),
    no_switch("--use-torch-fsdp2", kZero),
    only("--distributed-backend", "nccl",
         "GPUs of several processes talk through NCCL; threads of a process and CPU ranks use transports of "
         "their own, "
         "chosen by how the run is launched"),
    no_value("--distributed-timeout-minutes", "deadlines of collectives cannot be set; drop it"),
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
    no_value("--model-parallel-size", "say --tensor-model-parallel-size"),
    no_switch("--grad-reduce-in-bf16", "gradients are summed in fp32; drop it"),
};

}  // namespace

std::span<const MegatronFlag> megatron_parallel_flags() {
  return kRows;
}

}  // namespace phalanx
