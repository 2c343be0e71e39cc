// File: phalanx/kernels/embedding/embedding_ref.h
//
// Purpose: the embedding as the matrix product it is, one_hot(ids) table: any device, differentiable by autograd.
// Contract: as embedding.h, except that [T, V] is held; for tests.
#pragma once

#include "phalanx/kernels/embedding/embedding.h"

namespace phalanx::kernels {

Tensor embedding_forward_ref(const Tensor& ids, const Tensor& table);

}  // namespace phalanx::kernels
