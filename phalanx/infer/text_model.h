// File: phalanx/infer/text_model.h
//
// Purpose: a loaded model that makes and scores texts, on one rank or on several that are threads of this process.
// Contract: generate.h, with the same results under every layout: tensor-parallel ranks share each weight matrix,
//   pipeline ranks the layers; each loads its own part only. `on_token` may be called by another thread than the
//   caller's, one call at a time. After an error of several ranks the model is of no more use.
// Errors: Error(kBadInput) listing every rule that the layout breaks, before any weight is read; those of load_model.h
//   and generate.h.
// Example:
//   const ModelFolder folder = open_model("runs/demo");
//   const auto model = load_text_model(folder, {.tensor = 2});
//   model->generate(prompt, options, [](int64_t token) { return true; });
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "phalanx/infer/batcher.h"
#include "phalanx/infer/generate.h"
#include "phalanx/infer/load_model.h"

namespace phalanx {

struct LoadOptions {
  std::optional<at::ScalarType> dtype;  // none: the stored one
  at::Device device = at::kCPU;
  int64_t tensor = 1;
  int64_t pipeline = 1;
  int64_t threads = 0;  // LibTorch's own, a rank of several; 0: the cores shared out

  // The section `parallel` of a verb that uses a model.
  template <typename Visitor>
  void visit_fields(Visitor& v) {
    v.field("tensor", tensor, "tensor-parallel ranks: they share each weight matrix");
    v.field("pipeline", pipeline, "pipeline-parallel ranks: they share the layers");
  }
};

class TextModel {
 public:
  virtual ~TextModel() = default;
  virtual std::vector<int64_t> generate(std::span<const int64_t> prompt, const GenerateOptions& options,
                                        const std::function<bool(int64_t)>& on_token) = 0;
  // Of each prompt (batcher.h).
  virtual std::vector<std::vector<int64_t>> generate_all(std::span<const std::vector<int64_t>> prompts,
                                                         const GenerateOptions& options,
                                                         const BatchLimits& limits,
                                                         const OnToken& on_token) = 0;
  virtual std::vector<std::vector<double>> score(std::span<const ScoreText> texts) = 0;
};

std::unique_ptr<TextModel> load_text_model(const ModelFolder& folder, const LoadOptions& options);

}  // namespace phalanx
