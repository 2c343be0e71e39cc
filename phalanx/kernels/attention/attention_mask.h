// File: phalanx/kernels/attention/attention_mask.h
//
// Purpose: who sees whom, and which probabilities dropout drops: the masks that every path of the op shares.
// Shapes: S row length, A local query heads.
#pragma once

#include <ATen/core/Tensor.h>

#include "phalanx/kernels/attention/attention.h"

namespace phalanx::kernels {

// bool [n, count]: true where the key at index first_key + column must not be seen by the query at first_query + row.
// `document` of all indices, or undefined.
Tensor hidden_keys(int64_t first_query, int64_t n, int64_t first_key, int64_t count, int64_t window,
                   const Tensor& document, at::Device device);

// bool [A, S, S]: true where the probability is dropped. Entries above the diagonal may hold anything.
Tensor dropped_probabilities(const AttentionSpec& spec, int64_t sample, int64_t A, int64_t S,
                             at::Device device);

}  // namespace phalanx::kernels
