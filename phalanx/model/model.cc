#include "phalanx/model/model.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <array>
#include <ranges>
#include <utility>

#include "phalanx/arch/pattern.h"
#include "phalanx/base/error.h"
#include "phalanx/model/init.h"
#include "phalanx/model/sequential.h"
#include "phalanx/nn/block.h"
#include "phalanx/nn/recompute.h"
#include "phalanx/tensor/large_tensor.h"

namespace phalanx {

std::span<const EnumName<RecomputeMode>> enum_names(RecomputeMode) {
  using E = EnumName<RecomputeMode>;
  static constexpr std::array names = {E{RecomputeMode::kNone, "none"},
                                       E{RecomputeMode::kSelective, "selective"},
                                       E{RecomputeMode::kFull, "full"}};
  return names;
}

std::span<const EnumName<RecomputeMethod>> enum_names(RecomputeMethod) {
  using E = EnumName<RecomputeMethod>;
  static constexpr std::array names = {E{RecomputeMethod::kUniform, "uniform"},
                                       E{RecomputeMethod::kBlock, "block"}};
  return names;
}

std::span<const EnumName<StashMode>> enum_names(StashMode) {
  using E = EnumName<StashMode>;
  static constexpr std::array names = {E{StashMode::kPhalanx, "phalanx"}, E{StashMode::kPaper, "paper"}};
  return names;
}

at::ScalarType accumulator_of(at::ScalarType dtype) {
  return dtype == at::kDouble ? at::kDouble : at::kFloat;
}

namespace {

using HeldParameters = std::vector<std::pair<const FusedParameter*, ParameterSlot>>;

// Storage of the weights. On a CPU those of the model's dtype lie in one block, in the order of their use: generation
// reads them in one sweep. A device keeps them apart, so that an optimizer that moves them frees each at once.
class WeightSpace {
 public:
  WeightSpace(const HeldParameters& held, const ModelOptions& options)
      : options_(at::TensorOptions(options.dtype).device(options.device)),
        wide_(options_.dtype(accumulator_of(options.dtype))) {
    if (!options.device.is_cpu()) return;
    int64_t all = 0;
    for (const auto& [spec, slot] : held) all += spec->parts[0].keep_fp32 ? 0 : stride(slot);
    block_ = large_zeros(all, options_);
  }

  Tensor take(const FusedParameter& spec, const ParameterSlot& slot) {
    if (spec.parts[0].keep_fp32) return at::zeros(slot.shape, wide_);
    if (!block_.defined()) return at::zeros(slot.shape, options_);
    const Tensor weight = block_.narrow(0, taken_, c10::multiply_integers(slot.shape)).view(slot.shape);
    taken_ += stride(slot);
    return weight;
  }

 private:
  // Each starts a cache line.
  static int64_t stride(const ParameterSlot& slot) {
    constexpr int64_t kLine = 64;
    return (c10::multiply_integers(slot.shape) + kLine - 1) / kLine * kLine;
  }

  at::TensorOptions options_, wide_;
  Tensor block_;
  int64_t taken_ = 0;
};

}  // namespace

Model::Model(const ModelConfig& config, const ModelOptions& options, const kernels::Gemm& gemm,
             comm::Group& tensor_group)
    : config_(config), options_(options), table_(make_parameter_table(config)) {
  const size_t layers = parse_pattern(config_.pattern).layers.size();
  if (options_.part.chunks.empty()) {
    options_.part.chunks = {{.begin = 0, .end = layers, .embedding = true, .head = true}};
  }
  HeldParameters held;
  for (const FusedParameter& spec : table_.parameters) {
    if (holds(spec.name)) held.emplace_back(&spec, parameter_slot(config_, spec, options_.part.place));
  }
  WeightSpace space(held, options_);
  for (const auto& [fused, slot] : held) {
    const FusedParameter& spec = *fused;
    auto parameter = make_parameter(spec, slot, space.take(spec, slot));
    if (options.initialise) initialise_parameter(*parameter, spec, options.seed);
    by_name_[spec.name] = parameter.get();
    parameters_.push_back(std::move(parameter));
  }
  const nn::BuildContext context{.config = config_,
                                 .parameter = [this](const std::string& name) { return find(name); },
                                 .gemm = gemm,
                                 .tensor_group = tensor_group,
                                 .sequence_parallel = options_.part.place.sequence_parallel,
                                 .paper_stash = options_.stash_mode == StashMode::kPaper,
                                 .recompute_core = options_.recompute.core};
  for (const ModelChunk& chunk : options_.part.chunks) build_chunk(chunk, context);
  cache_shapes_ = cache_shapes();
  // A tied table serves both ends of the model.
  Parameter* const token = find("embedding.token.weight");
  if (token != nullptr && config_.tied_embeddings) {
    token->uses = std::ranges::any_of(options_.part.chunks, &ModelChunk::embedding) +
                  std::ranges::any_of(options_.part.chunks, &ModelChunk::head);
  }
}

// "layers.12.norm.weight" belongs to whoever holds layer 12.
bool Model::holds(const std::string& fused_name) const {
  const bool is_layer = fused_name.starts_with("layers.");
  const size_t layer = is_layer ? std::stoul(fused_name.substr(7)) : 0;
  const bool is_token = fused_name.starts_with("embedding.token");
  const bool is_end = !is_layer && !fused_name.starts_with("embedding.");
  return std::ranges::any_of(options_.part.chunks, [&](const ModelChunk& chunk) {
    if (is_layer) return chunk.begin <= layer && layer < chunk.end;
    if (is_end) return chunk.head;
    return chunk.embedding || (is_token && chunk.head && config_.tied_embeddings);
  });
}

nn::ModulePtr Model::recomputed(nn::ModulePtr module, const nn::BuildContext& context) const {
  // Under sequence parallelism a rank holds its own rows only: there is nothing to share.
  const bool shares = options_.recompute.shard_inputs && !options_.part.place.sequence_parallel;
  comm::Group* const share = shares ? &context.tensor_group : nullptr;
  return std::make_unique<nn::Recompute>(std::move(module), share);
}

void Model::build_chunk(const ModelChunk& chunk, const nn::BuildContext& context) {
  const Pattern pattern = parse_pattern(config_.pattern);
  const RecomputePolicy& policy = options_.recompute;
  const bool full = policy.mode == RecomputeMode::kFull;
  const bool uniform = policy.method == RecomputeMethod::kUniform;
  std::vector<nn::ModulePtr> modules;
  std::vector<int> first_layers;
  const auto add = [&](nn::ModulePtr module, int layer) {
    modules.push_back(std::move(module));
    first_layers.push_back(layer);
  };
  if (chunk.embedding) add(nn::make_embedding(context), kNoLayer);
  size_t i = chunk.begin;
  for (int64_t units = 0; i < chunk.end; ++units) {
    const bool wrap =
        full && (uniform || units < policy.num_layers);  // block: the first layers of each stage
    size_t end = i + 1;
    if (wrap) end = unit_end(pattern, i, chunk.end);
    for (int64_t more = 1; wrap && uniform && more < policy.num_layers && end < chunk.end; ++more) {
      end = unit_end(pattern, end, chunk.end);
    }
    const int first = static_cast<int>(i);
    std::vector<nn::ModulePtr> members;
    for (; i < end; ++i) {
      nn::ModulePtr layer =
          nn::make_layer(static_cast<char>(pattern.layers[i]), static_cast<int>(i), context);
      const bool again =
          policy.mode == RecomputeMode::kSelective && policy.mlp && pattern.layers[i] == LayerKind::kMlp;
      members.push_back(again ? recomputed(std::move(layer), context) : std::move(layer));
    }
    nn::ModulePtr module =
        members.size() == 1 ? std::move(members[0]) : std::make_unique<Sequential>(std::move(members));
    add(wrap ? recomputed(std::move(module), context) : std::move(module), first);
  }
  if (chunk.head) {
    add(nn::make_final_norm(context), kNoLayer);
    add(nn::make_head(context), kNoLayer);
  }
  chunks_.push_back(std::move(modules));
  first_layers_.push_back(std::move(first_layers));
}

Tensor Model::forward(int chunk, const Tensor& x, const Batch& batch, Side& side, Stash& stash) {
  const c10::NoGradGuard no_grad;
  Tensor y = x;
  const auto c = static_cast<size_t>(chunk);
  for (size_t i = 0; i < chunks_[c].size(); ++i) {
    stash.enter_layer(first_layers_[c][i]);
    y = chunks_[c][i]->forward(y, batch, side, stash);
  }
  return y;
}

Tensor Model::backward(int chunk, const Tensor& dy, const Batch& batch, Side& side, Stash& stash,
                       WeightGrads& grads) {
  const c10::NoGradGuard no_grad;
  Tensor dx = dy;
  for (const nn::ModulePtr& module : chunks_[static_cast<size_t>(chunk)] | std::views::reverse) {
    dx = module->backward(dx, batch, side, stash, grads);
  }
  PHALANX_CHECK(stash.empty(), "backward left tensors on the stash");
  return dx;
}

TensorSpec Model::boundary(const Batch& batch) const {
  return {.name = "",
          .shape = {batch.num_rows() / batch.row_shards, config_.hidden_size},
          .dtype = options_.dtype};
}

Tensor Model::forward(const Batch& batch, Side& side, Stash& stash) {
  PHALANX_CHECK(chunks_.size() == 1, "a model in one piece");
  return forward(0, {}, batch, side, stash);
}

void Model::backward(const Tensor& dnll, const Batch& batch, Side& side, Stash& stash, WeightGrads& grads) {
  PHALANX_CHECK(chunks_.size() == 1, "a model in one piece");
  backward(0, dnll, batch, side, stash, grads);
}

Tensor Model::step(const Batch& batch, Side& side, Cache& cache) {
  PHALANX_CHECK(chunks_.size() == 1, "a model in one piece");
  return step(0, {}, batch, side, cache);
}

Tensor Model::step(int chunk, const Tensor& x, const Batch& batch, Side& side, Cache& cache) {
  const c10::NoGradGuard no_grad;
  if (cache.shapes() != cache_shapes_) {
    throw Error(ErrorKind::kBadInput, {.where = "generation",
                                       .got = "a cache whose layers or sizes are not this model's",
                                       .needed = "one from make_cache() of the model",
                                       .fix = "make a cache for each model"});
  }
  Tensor y = x;
  for (const nn::ModulePtr& module : chunks_[static_cast<size_t>(chunk)])
    y = module->step(y, batch, side, cache);
  return y;
}

std::vector<Cache::LayerShape> Model::cache_shapes() const {
  const int ranks = options_.part.place.tp.size;
  std::vector<Cache::LayerShape> shapes;
  for (const LayerKind kind : parse_pattern(config_.pattern).layers) {
    Cache::LayerShape& shape = shapes.emplace_back();
    if (kind == LayerKind::kAttention) {
      shape.groups = groups_of_rank(config_, ranks);
      shape.head_dim = config_.kv_channels;
    } else if (kind == LayerKind::kMamba2) {
      const int64_t heads = config_.mamba_num_heads / ranks;
      shape.taps = config_.mamba_conv_kernel - 1;
      shape.channels =
          heads * config_.mamba_head_dim + 2 * mamba_groups_of_rank(config_, ranks) * config_.mamba_state_dim;
      shape.state = {heads, config_.mamba_head_dim, config_.mamba_state_dim};
    } else if (kind == LayerKind::kMamba1) {
      shape.taps = config_.mamba_conv_kernel - 1;
      shape.channels = config_.mamba1_inner() / ranks;
      shape.state = {shape.channels, config_.mamba1_state_dim};
    }
  }
  // Layers of other ranks keep nothing here.
  const auto held = [this](size_t layer) {
    return std::ranges::any_of(options_.part.chunks,
                               [layer](const ModelChunk& c) { return c.begin <= layer && layer < c.end; });
  };
  for (size_t i = 0; i < shapes.size(); ++i) {
    if (!held(i)) shapes[i] = {};
  }
  return shapes;
}

Cache Model::make_cache(int64_t page_size) const {
  return Cache(cache_shapes(), page_size, at::TensorOptions(options_.dtype).device(options_.device));
}

std::vector<Parameter*> Model::parameters() {
  std::vector<Parameter*> result;
  for (const auto& parameter : parameters_) result.push_back(parameter.get());
  return result;
}

Parameter* Model::find(const std::string& fused_name) {
  const auto it = by_name_.find(fused_name);
  return it == by_name_.end() ? nullptr : it->second;
}

}  // namespace phalanx
