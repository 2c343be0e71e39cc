// File: phalanx/kernels/rotary/rotary.h
//
// Purpose: rotary position embedding (rotate-half layout), partial and scaled.
// Equation: for i < r/2 with angle a_i = position * f_i:  (x_i, x_{i+r/2}) -> (x_i cos a_i - x_{i+r/2} sin a_i,
//   x_{i+r/2} cos a_i + x_i sin a_i); columns from r on pass through. f_i = base^(-2i/r), stretched by the rule.
//   linear: f / factor. llama3: long wavelengths f / factor, short ones f, smooth in between.
// Shapes: x [T, A, D] view, changed in place (any strides); position [T] int64; inverse turns the other way (backward).
// Dtypes: angles are computed in fp64 and stored as fp32 (fp64 for fp64 models).
// Sources: Su et al. 2021; Hugging Face transformers modeling_rope_utils (llama3 rule).
#pragma once

#include <ATen/core/Tensor.h>

#include "phalanx/arch/model_config.h"

namespace phalanx::kernels {

using at::Tensor;

struct RotarySpec {
  int64_t rotary_dim = 0;  // even
  double base = 10000.0;
  RopeScalingKind scaling = RopeScalingKind::kNone;
  double factor = 1.0;
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  int64_t original_max_position = 8192;
};

RotarySpec rotary_spec(const ModelConfig& config);

// The r/2 frequencies, for tests and for printing.
std::vector<double> rotary_frequencies(const RotarySpec& spec);

void rotary_(Tensor x_TAD, const Tensor& position_T, const RotarySpec& spec, bool inverse);

}  // namespace phalanx::kernels
