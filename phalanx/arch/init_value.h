// File: phalanx/arch/init_value.h
//
// Purpose: the formulas of initial values that are no normal numbers.
// Contract: pure, in fp64. `element` is the flat index in the logical, unsharded tensor, `uniform` that element's number
//   in [0, 1). kNormal has none here: its numbers are made in pairs (base/philox.h).
// Source: models.md 1.2 and 2.2. The bias of a step size delta is delta + log(-expm1(-delta)), because softplus of it is
//   delta; nothing cancels for small ones.
// Example: dt_bias of a Mamba head with u = 0 and the range 1e-3 .. 0.1 is -6.9073, whose softplus is 1e-3.
#pragma once

#include <cstdint>

#include "phalanx/arch/parameter_table.h"

namespace phalanx {

double init_value(const LogicalTensor& tensor, int64_t element, double uniform);

}  // namespace phalanx
