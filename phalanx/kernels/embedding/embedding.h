// File: phalanx/kernels/embedding/embedding.h
//
// Purpose: rows of a table by id, and the sum of gradients back into the table.
// Shapes: ids [T] int64 in [0, rows of the table); table [V, H]; out [T, H]; dtable [V, H] is added to (in its dtype).
// Contract: backward sums in row order of `dy` for each id, so the result does not depend on the thread count.
#pragma once

#include <ATen/core/Tensor.h>

namespace phalanx::kernels {

using at::Tensor;

Tensor embedding_forward(const Tensor& ids, const Tensor& table);
void embedding_backward(const Tensor& dy, const Tensor& ids, Tensor& dtable);

}  // namespace phalanx::kernels
