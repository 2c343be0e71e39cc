#include "phalanx/shard/parameter_layout.h"

#include <algorithm>
#include <string_view>

#include <fmt/format.h>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

// Of "layers.3.attention.k.weight" the last two words without ".weight" or ".bias": "attention.k". Others keep their last
// word: "mamba.A_log".
std::string_view role_of(const LogicalTensor& tensor) {
  std::string_view name = tensor.name;
  if (name.ends_with(".weight") || name.ends_with(".bias")) name = name.substr(0, name.rfind('.'));
  const size_t last = name.rfind('.');
  if (last == std::string_view::npos) return name;
  const size_t before = name.rfind('.', last - 1);
  return before == std::string_view::npos ? name : name.substr(before + 1);
}

bool is_one_of(std::string_view role, std::initializer_list<std::string_view> roles) {
  return std::find(roles.begin(), roles.end(), role) != roles.end();
}

bool is_key_or_value(std::string_view role) {
  return is_one_of(role, {"attention.k", "attention.v"});
}

bool is_mamba_group(std::string_view role) {
  return is_one_of(role, {"mamba.B", "mamba.C", "mamba.conv_B", "mamba.conv_C"});
}

// A rank may have the same piece as its neighbour, and only a part of its gradient.
bool may_be_shared(std::string_view role) {
  return is_key_or_value(role) || is_mamba_group(role);
}

int64_t unit_of(const ModelConfig& config, std::string_view role) {
  if (is_key_or_value(role) || is_one_of(role, {"attention.q", "attention.out"})) return config.kv_channels;
  if (is_one_of(role, {"mamba.z", "mamba.x", "mamba.conv_x", "mamba.norm", "mamba.out"}))
    return config.mamba_head_dim;
  return is_mamba_group(role) ? config.mamba_state_dim : 1;
}

bool is_head_norm(std::string_view role) {
  return is_one_of(role, {"attention.q_norm", "attention.k_norm"});
}

SegmentOptions options_of(const ModelConfig& config, const LogicalTensor& tensor, int tp_size) {
  SegmentOptions options;
  if (tensor.shard != ShardRule::kReplicated) options.unit = unit_of(config, role_of(tensor));
  options.padded_vocab_size = padded_vocab_over(config, tp_size);
  return options;
}

// Only keys, values and Mamba's groups may be shared: any other product would be counted once for each rank that has it.
void check_sharing(const LogicalTensor& tensor, const LocalSegment& segment, int tp_size) {
  const bool cut = tensor.shard == ShardRule::kColumn || tensor.shard == ShardRule::kRow;
  if (!cut || segment.replicas == 1 || may_be_shared(role_of(tensor))) return;
  throw Error(
      ErrorKind::kBadInput,
      {.where = fmt::format("tensor '{}' {}", tensor.name, to_string(tensor.shape)),
       .got = fmt::format("{} pieces for {} tensor-parallel ranks", tp_size / segment.replicas, tp_size),
       .needed = "a piece for every rank",
       .fix = "lower parallel.tensor"});
}

// The world ranks of the tensor group that hold the same box, by their place in it.
std::vector<int> sharing_ranks(const LocalSegment& segment, const ParameterPlace& place) {
  const auto begin = place.tp_ranks.begin() + (place.tp.rank - segment.replica);
  return {begin, begin + segment.replicas};
}

bool is_partial(const LogicalTensor& tensor, const ParameterPlace& place) {
  const std::string_view role = role_of(tensor);
  return is_head_norm(role) || may_be_shared(role) ||
         (tensor.shard == ShardRule::kReplicated && place.sequence_parallel);
}

SlotSegment slot_segment(const LogicalTensor& tensor, const LocalSegment& segment, bool tied,
                         const ParameterPlace& place) {
  SlotSegment result;
  result.name = segment.name;
  result.global_shape = segment.global_shape;
  result.global_box = segment.global_box;
  result.local_box = segment.local_box;
  result.decay = tensor.decay;
  result.replicas = sharing_ranks(segment, place);
  if (tied) result.replicas.push_back(place.tied_ranks[static_cast<size_t>(place.tp.rank)]);
  std::sort(result.replicas.begin(), result.replicas.end());
  const int self = place.tp_ranks[static_cast<size_t>(place.tp.rank)];
  const auto mine = std::find(result.replicas.begin(), result.replicas.end(), self);
  result.replica = static_cast<int>(mine - result.replicas.begin());
  result.partial = result.replicas.size() > 1 && (tied || is_partial(tensor, place));
  return result;
}

}  // namespace

ParameterSlot parameter_slot(const ModelConfig& config, const FusedParameter& parameter,
                             const ParameterPlace& place) {
  const TensorParallelRank tp = place.tp;
  PHALANX_CHECK(static_cast<int>(place.tp_ranks.size()) == tp.size,
                fmt::format("{} world ranks for a tensor group of {}", place.tp_ranks.size(), tp.size));
  PHALANX_CHECK(place.tied_ranks.empty() || place.tied_ranks.size() == place.tp_ranks.size(),
                "both copies of a tied embedding lie on equally many ranks");
  std::vector<SegmentOptions> options;
  for (const LogicalTensor& part : parameter.parts) options.push_back(options_of(config, part, tp.size));
  const LocalLayout layout = local_layout(parameter, tp, options);
  const bool tied =
      config.tied_embeddings && !place.tied_ranks.empty() && parameter.name == "embedding.token.weight";
  ParameterSlot slot{.shape = layout.shape, .segments = {}};
  for (size_t i = 0; i < layout.segments.size(); ++i) {
    check_sharing(parameter.parts[i], layout.segments[i], tp.size);
    slot.segments.push_back(slot_segment(parameter.parts[i], layout.segments[i], tied, place));
  }
  return slot;
}

int64_t padded_vocab_over(const ModelConfig& config, int tp_size) {
  return (config.padded_vocab_size() + tp_size - 1) / tp_size * tp_size;
}

int64_t groups_of_rank(const ModelConfig& config, int tp_size) {
  return std::max<int64_t>(1, config.num_query_groups / tp_size);
}

int64_t mamba_groups_of_rank(const ModelConfig& config, int tp_size) {
  return std::max<int64_t>(1, config.mamba_num_groups / tp_size);
}

}  // namespace phalanx
