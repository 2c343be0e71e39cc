// File: phalanx/model/init.h
//
// Purpose: one fused parameter from its row of the table: storage, segments, initial values.
// Contract: value of element e (flat index in the logical, unsharded tensor) = init_std * normal(seed, kInit, step 0,
//   layer = ordinal of the tensor, element e), or the formula of arch/init_value.h with the uniform number of that key and
//   element. Computed in fp64, then rounded to the dtype.
#pragma once

#include <memory>

#include "phalanx/arch/parameter_table.h"
#include "phalanx/shard/parameter_layout.h"
#include "phalanx/tensor/parameter.h"

namespace phalanx {

// Segments of what this rank holds, whose values lie in `data`.
std::unique_ptr<Parameter> make_parameter(const FusedParameter& spec, const ParameterSlot& slot, Tensor data);

void initialise_parameter(Parameter& parameter, const FusedParameter& spec, uint64_t seed);

}  // namespace phalanx
