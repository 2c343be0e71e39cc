// File: phalanx/kernels/gemm/gemm_routes.h
//
// Purpose: the backends behind Gemm, one function a route, and which of them a machine can run.
//   kAten: at::mm; from half operands into fp32 at::mm with an output dtype (CUDA), LibTorch's small-block product
//     with own packing (CPUs with half products) or kFloat.
//   kOneDnn, kFloat, kFewRows: see gemm.h.
// Contract: operands were checked by Gemm. `serves` depends only on the machine, the dtype and the device, `default`
//   also on sizes and layout: both are the same in every call, so the default table is deterministic. kFewRows runs
//   what it does not take (gemm_few_rows.h) by the default route.
#pragma once

#include "phalanx/kernels/gemm/gemm.h"

namespace phalanx::kernels {

Gemm::Layout gemm_layout(const Tensor& a, const Tensor& b);

// Whether this CPU multiplies the half dtype natively (bf16: AVX-512 BF16 or AMX; fp16: AVX-512 FP16).
bool gemm_has_half_products(at::ScalarType dtype);

bool gemm_route_serves(GemmRoute route, at::ScalarType dtype, at::Device device);
GemmRoute gemm_default_route(const Tensor& a, const Tensor& b);
void gemm_run(GemmRoute route, const Tensor& a, const Tensor& b, Tensor& c, double beta);

// c = a b + beta c in fp64, rounded once. For tests.
Tensor gemm_ref(const Tensor& a, const Tensor& b, const Tensor& c, double beta);

}  // namespace phalanx::kernels
