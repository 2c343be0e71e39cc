#include "phalanx/model/model.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <array>
#include <ranges>

#include "phalanx/arch/pattern.h"
#include "phalanx/base/error.h"
#include "phalanx/model/init.h"
#include "phalanx/model/sequential.h"
#include "phalanx/nn/block.h"
#include "phalanx/nn/recompute.h"

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

at::ScalarType accumulator_of(at::ScalarType dtype) {
  return dtype == at::kDouble ? at::kDouble : at::kFloat;
}

Model::Model(const ModelConfig& config, const ModelOptions& options, const kernels::Gemm& gemm,
             comm::Group& tensor_group)
    : config_(config), options_(options), table_(make_parameter_table(config)) {
  const auto tensor_options = at::TensorOptions(options.dtype).device(options.device);
  for (const FusedParameter& spec : table_.parameters) {
    auto parameter = make_parameter(spec, config_.padded_vocab_size(), tensor_options);
    if (options.initialise) initialise_parameter(*parameter, spec, options.seed);
    by_name_[spec.name] = parameter.get();
    parameters_.push_back(std::move(parameter));
  }
  build_layers({.config = config_,
                .parameter = [this](const std::string& name) { return find(name); },
                .gemm = gemm,
                .tensor_group = tensor_group});
}

void Model::build_layers(const nn::BuildContext& context) {
  const std::vector<LayerKind> layers = parse_pattern(config_.pattern).layers;
  const RecomputePolicy& policy = options_.recompute;
  // A transformer layer is two residual layers.
  const auto unit = static_cast<size_t>(2 * std::max<int64_t>(1, policy.num_layers));
  modules_.push_back(nn::make_embedding(context));
  size_t i = 0;
  while (i < layers.size()) {
    const bool wrap =
        policy.mode == RecomputeMode::kFull && (policy.method == RecomputeMethod::kUniform || i < unit);
    const size_t end =
        wrap && policy.method == RecomputeMethod::kUniform ? std::min(layers.size(), i + unit) : i + 1;
    std::vector<nn::ModulePtr> members;
    for (; i < end; ++i)
      members.push_back(nn::make_layer(static_cast<char>(layers[i]), static_cast<int>(i), context));
    nn::ModulePtr module =
        members.size() == 1 ? std::move(members[0]) : std::make_unique<Sequential>(std::move(members));
    modules_.push_back(wrap ? std::make_unique<nn::Recompute>(std::move(module)) : std::move(module));
  }
  modules_.push_back(nn::make_final_norm(context));
  modules_.push_back(nn::make_head(context));
}

Tensor Model::forward(const Batch& batch, Side& side, Stash& stash) {
  const c10::NoGradGuard no_grad;
  Tensor x;
  for (const nn::ModulePtr& module : modules_) x = module->forward(x, batch, side, stash);
  return x;
}

void Model::backward(const Tensor& dnll, const Batch& batch, Side& side, Stash& stash, WeightGrads& grads) {
  const c10::NoGradGuard no_grad;
  Tensor dy = dnll;
  for (const nn::ModulePtr& module : modules_ | std::views::reverse) {
    dy = module->backward(dy, batch, side, stash, grads);
  }
  PHALANX_CHECK(stash.empty(), "backward left tensors on the stash");
}

Tensor Model::step(const Batch& batch, Side& side, Cache& cache) {
  const c10::NoGradGuard no_grad;
  Tensor x;
  for (const nn::ModulePtr& module : modules_) x = module->step(x, batch, side, cache);
  return x;
}

Cache Model::make_cache(int64_t page_size) const {
  std::vector<Cache::LayerShape> shapes;
  for (const LayerKind kind : parse_pattern(config_.pattern).layers) {
    const bool attends = kind == LayerKind::kAttention;
    shapes.push_back({attends ? config_.num_query_groups : 0, attends ? config_.kv_channels : 0});
  }
  return Cache(std::move(shapes), page_size, at::TensorOptions(options_.dtype).device(options_.device));
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
