#include "phalanx/kernels/embedding/embedding.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/kernels/arguments.h"

namespace phalanx::kernels {
namespace {

void check_arguments(const Tensor& ids, const Tensor& table) {
  PHALANX_CHECK(ids.dim() == 1 && ids.scalar_type() == at::kLong,
                fmt::format("embedding: ids are {}, not Long [T]", shape_of(ids)));
  PHALANX_CHECK(table.dim() == 2 && table.is_floating_point(),
                fmt::format("embedding: the table is {}, not floating [V, H]", shape_of(table)));
  // Elsewhere the device checks while it reads, without a wait.
  if (!ids.device().is_cpu() || ids.numel() == 0) return;
  const auto [low, high] = at::aminmax(ids);
  PHALANX_CHECK(low.item<int64_t>() >= 0 && high.item<int64_t>() < table.size(0),
                fmt::format("embedding: ids from {} to {} for {} rows", low.item<int64_t>(),
                            high.item<int64_t>(), table.size(0)));
}

}  // namespace

Tensor embedding_forward(const Tensor& ids, const Tensor& table) {
  check_arguments(ids, table);
  return at::index_select(table, 0, ids);
}

void embedding_backward(const Tensor& dy, const Tensor& ids, Tensor& dtable) {
  check_arguments(ids, dtable);
  PHALANX_CHECK(
      dy.dim() == 2 && dy.size(0) == ids.size(0) && dy.size(1) == dtable.size(1) && dy.is_floating_point(),
      fmt::format("embedding: dy {} for ids {} and dtable {}", shape_of(dy), shape_of(ids),
                  shape_of(dtable)));
  const Tensor gradient = dy.to(dtable.scalar_type());
  if (dtable.device().is_cpu()) {
    dtable.index_add_(0, ids, gradient);  // sums each id in row order
  } else {
    dtable.index_put_({ids}, gradient, /*accumulate=*/true);  // sorts first; index_add_ would use atomics
  }
}

}  // namespace phalanx::kernels
