// File: phalanx/kernels/adamw/adamw_ref.h
//
// Purpose: adamw by plain ATen operations: any device, and the oracle of the tests.
// Contract: as adamw.h; works in chunks of a fixed size, so temporaries stay small. Scalars stay on the device.
#pragma once

#include "phalanx/kernels/adamw/adamw.h"

namespace phalanx::kernels {

void adamw_ref(Tensor param, const Tensor& grad, Tensor exp_avg, Tensor exp_avg_sq, const Tensor& scalars,
               const AdamWSpec& spec, Tensor compute_copy);

}  // namespace phalanx::kernels
