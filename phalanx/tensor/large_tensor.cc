#include "phalanx/tensor/large_tensor.h"

#include <ATen/ATen.h>

#include "phalanx/base/large_memory.h"

namespace phalanx {

at::Tensor large_zeros(int64_t numel, const at::TensorOptions& options) {
  if (!options.device().is_cpu() || numel == 0) return at::zeros({numel}, options);
  const auto size = static_cast<size_t>(numel) * options.dtype().itemsize();
  std::shared_ptr<void> memory = allocate_large(size);
  void* const data = memory.get();
  return at::from_blob(
      data, {numel}, [memory = std::move(memory)](void*) {}, options);
}

}  // namespace phalanx
