// File: phalanx/model/model.h
//
// Purpose: parameter table + layers -> what a rank runs. Owns the parameters; a Stage is an ordered list of modules.
// Contract: parameters are created from the table (padded vocabulary rows are zero and belong to no segment) and
//   initialised by Philox on logical elements, so initial weights do not depend on any layout. Activations flow in the
//   model's dtype, which is that of all parameters but the few that the table keeps in fp32. The first module makes
//   activations out of ids, the last returns nll [T].
// Chunks: a rank of a pipeline holds some stages, each a slice of the pattern, the first with the embedding, the last
//   with final norm and head. Without chunks it holds everything. A tied embedding exists once on a rank that holds both
//   ends, else as two copies whose gradients are summed.
// Recomputation (paper 2, section 5; Megatron's flags): kFull uniform N re-runs units of N transformer layers (`*-` pairs,
//   or residual layers where there are none), block N each of the first N of a stage. Selective names modules: core_attn,
//   layernorm and mlp_act need no wrapper, because the stash never holds attention probabilities, norm outputs or
//   activation outputs in the first place; mlp re-runs the whole MLP layer from its input.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "phalanx/arch/model_config.h"
#include "phalanx/arch/parameter_table.h"
#include "phalanx/nn/context.h"
#include "phalanx/nn/module.h"
#include "phalanx/nn/stage_program.h"
#include "phalanx/shard/parameter_layout.h"

namespace phalanx {

enum class RecomputeMode { kNone, kSelective, kFull };
enum class RecomputeMethod { kUniform, kBlock };
// What layers keep for their backward: as little as they can, or what paper 2 counts (nn/paper_layers.h).
enum class StashMode { kPhalanx, kPaper };

std::span<const EnumName<RecomputeMode>> enum_names(RecomputeMode);
std::span<const EnumName<RecomputeMethod>> enum_names(RecomputeMethod);
std::span<const EnumName<StashMode>> enum_names(StashMode);

struct RecomputePolicy {
  RecomputeMode mode = RecomputeMode::kNone;
  RecomputeMethod method = RecomputeMethod::kUniform;
  int64_t num_layers = 1;  // transformer layers in a unit (uniform), or wrapped in all (block)
  bool mlp = false;        // selective
  bool core = false;       // selective; only layers that keep what the paper counts have a core to recompute
  bool shard_inputs = false;  // full: each rank of the tensor group keeps a piece of a kept input
};

struct ModelChunk {
  size_t begin = 0;  // residual layers, in the pattern
  size_t end = 0;
  bool embedding = false;
  bool head = false;
};

// Which part of the model this rank holds.
struct ModelPart {
  std::vector<ModelChunk> chunks;  // empty: one chunk with everything
  ParameterPlace place;            // among tensor-parallel ranks
};

struct ModelOptions {
  at::Device device = at::kCPU;
  at::ScalarType dtype = at::kFloat;
  uint64_t seed = 1234;
  bool initialise = true;  // false: the caller loads every weight
  RecomputePolicy recompute;
  StashMode stash_mode = StashMode::kPhalanx;
  ModelPart part;
};

class Model : public StageProgram {
 public:
  // `config` is finalized and valid; `gemm` and `tensor_group` outlive the model.
  Model(const ModelConfig& config, const ModelOptions& options, const kernels::Gemm& gemm,
        comm::Group& tensor_group);

  Tensor forward(int chunk, const Tensor& x, const Batch& batch, Side& side, Stash& stash) override;
  Tensor backward(int chunk, const Tensor& dy, const Batch& batch, Side& side, Stash& stash,
                  WeightGrads& grads) override;
  TensorSpec boundary(const Batch& batch) const override;
  std::vector<TensorSpec> side_into(int, const Batch&) const override { return {}; }
  at::Device device() const override { return options_.device; }

  // Of a model in one piece: nll [T] of the batch; `dnll` is Batch::loss_weight.
  Tensor forward(const Batch& batch, Side& side, Stash& stash);
  void backward(const Tensor& dnll, const Batch& batch, Side& side, Stash& stash, WeightGrads& grads);
  // Logits [rows, vocab] of new rows; the cache grows by them. Error(kBadInput): a cache of another model.
  Tensor step(const Batch& batch, Side& side, Cache& cache);
  // Of one chunk: boundary tensors as in forward, logits from the last stage. Rows are whole on every rank.
  Tensor step(int chunk, const Tensor& x, const Batch& batch, Side& side, Cache& cache);
  // Of this rank's key/value groups and heads. Layers are numbered as in the pattern; those of other ranks take no memory.
  Cache make_cache(int64_t page_size = 64) const;

  const ModelConfig& config() const { return config_; }
  const ParameterTable& table() const { return table_; }
  at::ScalarType dtype() const { return options_.dtype; }
  const ModelPart& part() const { return options_.part; }
  std::vector<Parameter*> parameters();
  Parameter* find(const std::string& fused_name);

 private:
  bool holds(const std::string& fused_name) const;
  void build_chunk(const ModelChunk& chunk, const nn::BuildContext& context);
  std::vector<Cache::LayerShape> cache_shapes() const;
  nn::ModulePtr recomputed(nn::ModulePtr module, const nn::BuildContext& context) const;

  ModelConfig config_;
  ModelOptions options_;
  ParameterTable table_;
  std::vector<std::unique_ptr<Parameter>> parameters_;
  std::unordered_map<std::string, Parameter*> by_name_;
  std::vector<std::vector<nn::ModulePtr>> chunks_;
  std::vector<Cache::LayerShape> cache_shapes_;
  std::vector<std::vector<int>> first_layers_;  // of each module, in the pattern; for the stash
};

// fp32 for half models, else the dtype itself: where gradients, masters and losses are kept.
at::ScalarType accumulator_of(at::ScalarType dtype);

}  // namespace phalanx
