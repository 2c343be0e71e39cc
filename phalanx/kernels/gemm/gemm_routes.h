// File: phalanx/kernels/gemm/gemm_routes.h
//
// Purpose: the backends behind Gemm, one function a route, and which of them a machine can run.
// Contract: operands were checked by Gemm. `serves` depends only on the machine, the dtype and the device, `default`
//   also on sizes and layout: both are the same in every call, so the default table is deterministic.
#pragma once

#include "phalanx/kernels/gemm/gemm.h"

namespace phalanx::kernels {

Gemm::Layout gemm_layout(const Tensor& a, const Tensor& b);

bool gemm_route_serves(GemmRoute route, at::ScalarType dtype, at::Device device);
GemmRoute gemm_default_route(const Tensor& a, const Tensor& b);
void gemm_run(GemmRoute route, const Tensor& a, const Tensor& b, Tensor& c, double beta);

// c = a b + beta c in fp64, rounded once. For tests.
Tensor gemm_ref(const Tensor& a, const Tensor& b, const Tensor& c, double beta);

}  // namespace phalanx::kernels
