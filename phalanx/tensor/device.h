// File: phalanx/tensor/device.h
//
// Purpose: the device a user asked for, or one error that says why it is not to be had.
// Errors: Error(kBadInput) when this build or this machine has no CUDA device.
#pragma once

#include <ATen/core/Tensor.h>

namespace phalanx {

at::Device checked_device(bool cuda);

}  // namespace phalanx
