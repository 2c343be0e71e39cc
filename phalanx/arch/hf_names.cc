#include "phalanx/arch/hf_names.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "phalanx/arch/hf_mamba.h"
#include "phalanx/arch/violations.h"

namespace phalanx {
namespace {

constexpr std::string_view kHead = "lm_head.weight";

// Without its ".weight" or ".bias", or whole where it has neither.
struct Stem {
  std::string_view ours;
  std::string_view theirs;
  bool linear = false;
  bool convolution = false;
};

struct Naming {
  std::string_view prefix;        // of the base model inside the causal one
  std::string_view other_prefix;  // that some files have instead, or ""
  std::string_view layer;         // in front of a layer's number
  std::string_view even_norm;     // of our layers 0, 2, ..
  std::string_view odd_norm;
  int64_t residuals = 2;  // our layers in one of theirs
  std::span<const Stem> outside;
  std::span<const Stem> inside;  // a layer
};

constexpr auto kGpt2Outside =
    std::to_array<Stem>({{"embedding.token", "wte"}, {"embedding.position", "wpe"}, {"final_norm", "ln_f"}});
constexpr auto kGpt2Inside = std::to_array<Stem>({{"attention.q", "attn.c_attn", true},
                                                  {"attention.k", "attn.c_attn", true},
                                                  {"attention.v", "attn.c_attn", true},
                                                  {"attention.out", "attn.c_proj", true},
                                                  {"mlp.up", "mlp.c_fc", true},
                                                  {"mlp.down", "mlp.c_proj", true}});
constexpr auto kLlamaOutside =
    std::to_array<Stem>({{"embedding.token", "embed_tokens"}, {"final_norm", "norm"}});
constexpr auto kLlamaInside = std::to_array<Stem>({{"attention.q", "self_attn.q_proj", true},
                                                   {"attention.k", "self_attn.k_proj", true},
                                                   {"attention.v", "self_attn.v_proj", true},
                                                   {"attention.out", "self_attn.o_proj", true},
                                                   {"mlp.gate", "mlp.gate_proj", true},
                                                   {"mlp.up", "mlp.up_proj", true},
                                                   {"mlp.down", "mlp.down_proj", true}});

constexpr auto kMixerOutside =
    std::to_array<Stem>({{"embedding.token", "embeddings"}, {"final_norm", "norm_f"}});
constexpr auto kMixerInside = std::to_array<Stem>({{"mamba1.x", "mixer.in_proj"},
                                                   {"mamba1.z", "mixer.in_proj"},
                                                   {"mamba1.conv", "mixer.conv1d", false, true},
                                                   {"mamba1.dt_low", "mixer.x_proj"},
                                                   {"mamba1.B", "mixer.x_proj"},
                                                   {"mamba1.C", "mixer.x_proj"},
                                                   {"mamba1.dt_proj", "mixer.dt_proj"},
                                                   {"mamba1.dt_bias", "mixer.dt_proj.bias"},
                                                   {"mamba1.A_log", "mixer.A_log"},
                                                   {"mamba1.D", "mixer.D"},
                                                   {"mamba1.out", "mixer.out_proj"},
                                                   {"mamba.z", "mixer.in_proj"},
                                                   {"mamba.x", "mixer.in_proj"},
                                                   {"mamba.B", "mixer.in_proj"},
                                                   {"mamba.C", "mixer.in_proj"},
                                                   {"mamba.dt", "mixer.in_proj"},
                                                   {"mamba.conv_x", "mixer.conv1d", false, true},
                                                   {"mamba.conv_B", "mixer.conv1d", false, true},
                                                   {"mamba.conv_C", "mixer.conv1d", false, true},
                                                   {"mamba.dt_bias", "mixer.dt_bias"},
                                                   {"mamba.A_log", "mixer.A_log"},
                                                   {"mamba.D", "mixer.D"},
                                                   {"mamba.norm", "mixer.norm"},
                                                   {"mamba.out", "mixer.out_proj"},
                                                   {"attention.q", "mixer.q_proj"},
                                                   {"attention.k", "mixer.k_proj"},
                                                   {"attention.v", "mixer.v_proj"},
                                                   {"attention.out", "mixer.o_proj"},
                                                   {"mlp.up", "mixer.up_proj"},
                                                   {"mlp.down", "mixer.down_proj"}});

Naming naming_of(HfFamily family) {
  if (is_mamba_family(family))
    return {"backbone.", "model.", "layers.", "norm", "norm", 1, kMixerOutside, kMixerInside};
  if (family == HfFamily::kGpt2)
    return {"transformer.", "", "h.", "ln_1", "ln_2", 2, kGpt2Outside, kGpt2Inside};
  return {"model.",      "",          "layers.", "input_layernorm", "post_attention_layernorm", 2,
          kLlamaOutside, kLlamaInside};
}

struct TheirName {
  std::string name;
  bool linear = false;
  bool convolution = false;
};

// `ours` is a whole name without the layer.
TheirName translate(std::span<const Stem> stems, std::string_view ours) {
  const size_t dot = ours.rfind('.');
  for (const Stem& stem : stems) {
    if (stem.ours == ours) return {std::string(stem.theirs), stem.linear, stem.convolution};
    if (stem.ours == ours.substr(0, dot)) {
      return {fmt::format("{}{}", stem.theirs, ours.substr(dot)), stem.linear, stem.convolution};
    }
  }
  PHALANX_CHECK(false, "no Hugging Face name for " + std::string(ours));
}

// "layers.3.mlp.up.weight" of gpt2: layer 3 of the pattern is the MLP of block 1, hence "transformer.h.1.mlp.c_fc.weight".
TheirName their_name(const Naming& naming, std::string_view logical) {
  if (logical == "head.weight") return {std::string(kHead)};
  constexpr std::string_view kLayers = "layers.";
  if (!logical.starts_with(kLayers)) {
    TheirName theirs = translate(naming.outside, logical);
    theirs.name.insert(0, naming.prefix);
    return theirs;
  }
  logical.remove_prefix(kLayers.size());
  const size_t end = logical.find('.');
  const int64_t index = std::stoll(std::string(logical.substr(0, end)));
  logical.remove_prefix(end + 1);
  const std::string block = fmt::format("{}{}{}.", naming.prefix, naming.layer, index / naming.residuals);
  if (logical.starts_with("norm.")) {
    const std::string_view norm = index % 2 == 0 ? naming.even_norm : naming.odd_norm;
    return {fmt::format("{}{}{}", block, norm, logical.substr(logical.find('.')))};
  }
  TheirName theirs = translate(naming.inside, logical);
  theirs.name.insert(0, block);
  return theirs;
}

// q, k, v of gpt2 are three row ranges of one tensor of 3 h rows; parts of a Mamba layer likewise, in table order.
void share_rows(std::vector<HfMapping>& mapping) {
  std::unordered_map<std::string, int64_t> total;
  std::unordered_map<std::string, int> sharers;
  for (HfMapping& entry : mapping) {
    const int64_t rows = entry.hf_shape.front();
    const int64_t begin = total[entry.hf_name];
    entry.rows = HfRows{begin, begin + rows};
    total[entry.hf_name] = begin + rows;
    ++sharers[entry.hf_name];
  }
  for (HfMapping& entry : mapping) {
    if (sharers[entry.hf_name] == 1) entry.rows.reset();
    entry.hf_shape.front() = total[entry.hf_name];
  }
}

std::string shape_text(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

bool is_number(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

// Buffers that old versions stored: the causal mask of gpt2, the rotary frequencies of those that rotate.
bool is_buffer(const Naming& naming, HfFamily family, std::string_view name) {
  if (is_mamba_family(family)) return false;
  name.remove_prefix(naming.prefix.size());
  if (family != HfFamily::kGpt2 && name == "rotary_emb.inv_freq") return true;
  if (!name.starts_with(naming.layer)) return false;
  name.remove_prefix(naming.layer.size());
  const size_t dot = name.find('.');
  if (dot == std::string_view::npos || !is_number(name.substr(0, dot))) return false;
  name.remove_prefix(dot + 1);
  if (family == HfFamily::kGpt2) return name == "attn.bias" || name == "attn.masked_bias";
  return name == "self_attn.rotary_emb.inv_freq";
}

// The name in a causal model as it is written today.
std::string full_name(const Naming& naming, std::string_view name) {
  if (name == kHead) return std::string(name);
  for (const std::string_view prefix : {naming.prefix, naming.other_prefix}) {
    if (prefix.empty() || !name.starts_with(prefix)) continue;
    name.remove_prefix(prefix.size());
    break;
  }
  // The state-spaces library's name for what transformers calls embeddings.
  if (naming.residuals == 1 && name == "embedding.weight") name = "embeddings.weight";
  return fmt::format("{}{}", naming.prefix, name);
}

// The file's tensors by their full names.
std::unordered_map<std::string, const HfTensorInfo*> by_full_name(const Naming& naming,
                                                                  std::span<const HfTensorInfo> file,
                                                                  Violations& problems) {
  std::unordered_map<std::string, const HfTensorInfo*> tensors;
  for (const HfTensorInfo& tensor : file) {
    if (!tensors.emplace(full_name(naming, tensor.name), &tensor).second) {
      problems.add("tensor " + tensor.name, "a second copy", "one of each", "keep one of them");
    }
  }
  return tensors;
}

}  // namespace

std::vector<HfMapping> hf_mapping(const ModelConfig& config, HfFamily family, const ParameterTable& table) {
  require_hf_family(config, family);
  const Naming naming = naming_of(family);
  std::vector<HfMapping> mapping;
  for (const LogicalTensor* tensor : table.logical_tensors()) {
    TheirName theirs = their_name(naming, tensor->name);
    mapping.push_back({.logical = tensor->name,
                       .hf_name = std::move(theirs.name),
                       .hf_shape = tensor->shape,
                       .transpose = family == HfFamily::kGpt2 && theirs.linear && tensor->shape.size() == 2,
                       .unit_middle = theirs.convolution && tensor->shape.size() == 2,
                       .rows = std::nullopt});
  }
  share_rows(mapping);
  for (HfMapping& entry : mapping) {
    if (entry.transpose) std::swap(entry.hf_shape[0], entry.hf_shape[1]);
    if (entry.unit_middle) entry.hf_shape.insert(entry.hf_shape.begin() + 1, 1);
  }
  return mapping;
}

HfImportPlan plan_hf_import(const ModelConfig& config, HfFamily family, const ParameterTable& table,
                            std::span<const HfTensorInfo> file, const std::string& where) {
  const Naming naming = naming_of(family);
  Violations problems(where, ": ");
  auto tensors = by_full_name(naming, file, problems);
  HfImportPlan plan{.tensors = hf_mapping(config, family, table), .tied_head = std::nullopt};
  std::unordered_set<std::string> wanted;
  for (HfMapping& entry : plan.tensors) {
    const bool first = wanted.insert(entry.hf_name).second;
    const auto it = tensors.find(entry.hf_name);
    if (it == tensors.end()) {
      if (first)
        problems.add("tensor " + entry.hf_name, "no such tensor", shape_text(entry.hf_shape),
                     "look for a missing shard");
      continue;
    }
    if (it->second->shape != entry.hf_shape && first) {
      problems.add("tensor " + it->second->name, shape_text(it->second->shape), shape_text(entry.hf_shape),
                   "the weights belong to another config.json");
    }
    entry.hf_name = it->second->name;
  }
  // In the order of the file, so that the report is always the same.
  for (const HfTensorInfo& tensor : file) {
    const std::string name = full_name(naming, tensor.name);
    if (wanted.contains(name)) continue;
    const std::vector<int64_t> head_shape = {config.vocab_size, config.hidden_size};
    if (name == kHead && config.tied_embeddings) {
      if (tensor.shape != head_shape) {
        problems.add("tensor " + tensor.name, shape_text(tensor.shape), shape_text(head_shape),
                     "the weights belong to another config.json");
      }
      plan.tied_head = tensor.name;
    } else if (name == kHead || !is_buffer(naming, family, name)) {
      problems.add("tensor " + tensor.name, shape_text(tensor.shape), "no such tensor",
                   "the weights belong to another architecture or config.json");
    }
  }
  problems.throw_if_any();
  return plan;
}

}  // namespace phalanx
