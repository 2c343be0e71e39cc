// File: phalanx/kernels/selective_scan/selective_scan_ref.h
//
// Purpose: the selective scan by plain ATen operations, row after row: any device and dtype, and the oracle of the
//   tests.
// Contract: as selective_scan.h, whose functions have checked the arguments. selective_scan_forward_ref is
//   differentiable by autograd; selective_scan_backward_ref needs none.
#pragma once

#include "phalanx/kernels/selective_scan/selective_scan.h"

namespace phalanx::kernels {

ScanForward selective_scan_forward_ref(const ScanInputs& in, int64_t chunk = kScanChunk);
ScanGradients selective_scan_backward_ref(const Tensor& dout, const Tensor& dfinal, const ScanInputs& in,
                                          const Tensor& states, const ScanInputGradients& d,
                                          int64_t chunk = kScanChunk);
Tensor selective_scan_step_ref(const ScanInputs& in, const Tensor& states, const Tensor& slot);

}  // namespace phalanx::kernels
