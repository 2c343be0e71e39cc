// File: phalanx/nn/test_reference.h
//
// Purpose: for tests only: a small model built from the parameter table, batches for it, and the same model again in
//   plain ATen operations that autograd differentiates. The reference shares no code with the layers or kernels; even
//   dropout masks are drawn element by element.
// Contract: parameters are random (norms and biases too) and main gradients start as NaN, so that a gradient which is
//   added to what was never written shows.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "phalanx/arch/parameter_table.h"
#include "phalanx/nn/block.h"

namespace phalanx::nn::testing {

using Values = std::map<std::string, Tensor>;  // by fused name

// Hidden 12, 4 heads of 8 (so that A D != H), FFN 10, vocabulary 11 padded to 16, rows of 7. Pattern "*-".
ModelConfig tiny_config();
// Sizes of Mamba layers for it.
void set_tiny_mamba(ModelConfig& config);

class TestModel {
 public:
  explicit TestModel(const ModelConfig& config, at::ScalarType dtype = at::kDouble, uint64_t seed = 1);

  const ModelConfig& config() const { return config_; }
  BuildContext context() {
    return {config_, [this](const std::string& n) { return find(n); }, gemm_, *group_};
  }
  Parameter* find(const std::string& name);
  std::vector<Parameter*> parameters();
  void forget_gradients();  // as at the start of a step

  // Embedding, layers of the pattern, final norm, head. `wrap` may put a wrapper around each.
  std::vector<ModulePtr> build(const std::function<ModulePtr(ModulePtr)>& wrap = nullptr);

 private:
  ModelConfig config_;
  kernels::Gemm gemm_;
  std::unique_ptr<comm::Group> group_;
  std::map<std::string, std::unique_ptr<Parameter>> parameters_;
};

struct BatchOptions {
  int64_t num_samples = 2;
  bool documents = false;
  bool training = true;
  int64_t first_sample = 3;  // sample index of the first row within the step
  uint64_t seed = 5;
  at::ScalarType loss_dtype = at::kDouble;
};
// About a fifth of the rows is masked (label -1, weight 0).
Batch make_batch(const ModelConfig& config, const BatchOptions& options = {});

Tensor run_forward(std::vector<ModulePtr>& modules, const Batch& batch, Stash& stash);
Tensor run_backward(std::vector<ModulePtr>& modules, const Batch& batch, Stash& stash, WeightGrads& grads);

// The plain model. `prefix` is "layers.<i>."; a branch includes its norm, a layer also dropout and the residual sum.
Tensor reference_norm(const Tensor& x, const Values& values, const std::string& name,
                      const ModelConfig& config);
Tensor reference_attention(const Tensor& x, const Values& values, int index, const ModelConfig& config,
                           const Batch& batch);
Tensor reference_mlp(const Tensor& x, const Values& values, int index, const ModelConfig& config);
Tensor reference_mamba2(const Tensor& x, const Values& values, int index, const ModelConfig& config,
                        const Batch& batch);
Tensor reference_mamba1(const Tensor& x, const Values& values, int index, const ModelConfig& config,
                        const Batch& batch);
// Of the kind that the pattern has at `index`.
Tensor reference_branch(const Tensor& x, const Values& values, int index, const ModelConfig& config,
                        const Batch& batch);
Tensor reference_dropout(const Tensor& x, const Batch& batch, RandomPurpose purpose, int layer, double p);
Tensor reference_embedding(const Values& values, const ModelConfig& config, const Batch& batch);
Tensor reference_logits(const Tensor& x, const Values& values, const ModelConfig& config);
// After the last layer and the final norm.
Tensor reference_hidden(const Values& values, const ModelConfig& config, const Batch& batch);
Tensor reference_nll(const Values& values, const ModelConfig& config, const Batch& batch);

// Compares one module with `reference` on random x and dy: output, dx and the gradient of every parameter that it
// visits, relative 1e-10; and that the stash is empty afterwards. "" when all agree.
std::string module_mismatch(TestModel& model, Module& module, const Batch& batch,
                            const std::function<Tensor(const Tensor& x, const Values&)>& reference);

// Main gradients of the model against autograd of `loss`; "" when each agrees to `tolerance`, and a frozen parameter
// has none.
std::string gradient_mismatch(TestModel& model, const std::function<Tensor(const Values&)>& loss,
                              double tolerance = 1e-10);

// Rows of choices (row[i] in [0, levels[i])) such that every combination of levels of any `strength` columns occurs.
// Deterministic and greedy: a few dozen rows for pairs.
std::vector<std::vector<int>> covering_rows(const std::vector<int>& levels, size_t strength);

}  // namespace phalanx::nn::testing
