#include "phalanx/tensor/device.h"

#include <ATen/Context.h>

#include "phalanx/base/error.h"

namespace phalanx {

at::Device checked_device(bool cuda) {
  if (!cuda) return at::kCPU;
  if (at::hasCUDA()) return at::Device(at::kCUDA, 0);
  throw Error(ErrorKind::kBadInput,
              {.where = "--device cuda",
               .got = "no CUDA device",
               .needed = "a build with CUDA (make gpu) on a machine with an NVIDIA GPU and its driver",
               .fix = "use --device cpu, or build-gpu/phalanx on such a machine"});
}

}  // namespace phalanx
