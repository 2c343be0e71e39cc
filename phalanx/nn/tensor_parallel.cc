#include "phalanx/nn/tensor_parallel.h"

#include <ATen/ATen.h>

#include "phalanx/base/error.h"

namespace phalanx::nn {

Pending start_gather(const Tensor& local, comm::Group& group) {
  if (group.size() == 1) return {local, nullptr};
  std::vector<int64_t> shape = local.sizes().vec();
  shape[0] *= group.size();
  const Tensor all = at::empty(shape, local.options());
  return {all, group.start_all_gather(all, local.contiguous())};
}

Pending start_sum(Tensor part, comm::Group& group, bool sharded) {
  if (group.size() == 1) return {std::move(part), nullptr};
  const Tensor whole = part.contiguous();
  if (!sharded) return {whole, group.start_all_reduce(whole, comm::ReduceOp::kSum)};
  std::vector<int64_t> shape = whole.sizes().vec();
  PHALANX_CHECK(shape[0] % group.size() == 0, "rows of the stream divide over the tensor group");
  shape[0] /= group.size();
  const Tensor mine = at::empty(shape, whole.options());
  return {mine, group.start_reduce_scatter(mine, whole)};
}

}  // namespace phalanx::nn
