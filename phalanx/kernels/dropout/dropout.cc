#include "phalanx/kernels/dropout/dropout.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>

#include "phalanx/base/error.h"
#include "phalanx/kernels/dropout/dropout_cpu.h"
#include "phalanx/kernels/dropout/dropout_ref.h"

namespace phalanx::kernels {
namespace {

constexpr int64_t kElementsPerTask = 1 << 13;

void check_probability(double p) {
  PHALANX_CHECK(p >= 0.0 && p < 1.0, fmt::format("dropout: p is {}, not in [0, 1)", p));
}

Tensor dropped_rows(const Tensor& x, const Tensor& token_id, const RandomKey& key, uint32_t threshold,
                    int64_t width, int64_t first_column) {
  if (!x.device().is_cpu()) {
    const Tensor columns = at::arange(first_column, first_column + x.size(1), token_id.options());
    return dropout_mask_ref(token_id.unsqueeze(1) * width + columns, key, threshold);
  }
  const Tensor ids = token_id.contiguous();
  Tensor dropped = at::empty(x.sizes(), x.options().dtype(at::kBool));
  const DropoutRows rows{ids.const_data_ptr<int64_t>(), width, first_column, x.size(1)};
  bool* to = dropped.data_ptr<bool>();
  const int64_t grain = std::max<int64_t>(1, kElementsPerTask / std::max<int64_t>(1, x.size(1)));
  at::parallel_for(0, x.size(0), grain, [&](int64_t begin, int64_t end) {
    dropout_mask_rows(rows, key, threshold, to, begin, end);
  });
  return dropped;
}

}  // namespace

Tensor dropout(const Tensor& x, const Tensor& token_id, const RandomKey& key, double p, int64_t width,
               int64_t first_column) {
  check_probability(p);
  PHALANX_CHECK(x.dim() == 2 && x.is_floating_point(), "dropout: x is [T, H] and floating");
  PHALANX_CHECK(token_id.dim() == 1 && token_id.size(0) == x.size(0) && token_id.scalar_type() == at::kLong,
                fmt::format("dropout: x has {} rows, token_id is {} [{}]", x.size(0),
                            c10::toString(token_id.scalar_type()), fmt::join(token_id.sizes(), ", ")));
  PHALANX_CHECK(
      first_column >= 0 && first_column + x.size(1) <= width,
      fmt::format("dropout: columns {} to {} of {}", first_column, first_column + x.size(1), width));
  if (p == 0.0) return x;
  const Tensor dropped = dropped_rows(x, token_id, key, dropout_threshold(p), width, first_column);
  // Not a product with the mask: a dropped infinity is 0.
  return (x * (1.0 / (1.0 - p))).masked_fill_(dropped, 0.0);
}

Tensor dropout_keep_mask(const Tensor& element_index, const RandomKey& key, double p) {
  check_probability(p);
  PHALANX_CHECK(element_index.scalar_type() == at::kLong, "dropout: element indices are int64");
  const uint32_t threshold = dropout_threshold(p);
  if (!element_index.device().is_cpu()) return dropout_mask_ref(element_index, key, threshold).logical_not_();
  const Tensor indices = element_index.contiguous();
  Tensor mask = at::empty(indices.sizes(), indices.options().dtype(at::kBool));
  const int64_t* from = indices.const_data_ptr<int64_t>();
  bool* to = mask.data_ptr<bool>();
  at::parallel_for(0, indices.numel(), kElementsPerTask, [&](int64_t begin, int64_t end) {
    dropout_mask_elements(from, key, threshold, to, begin, end);
  });
  return mask.logical_not_();
}

}  // namespace phalanx::kernels
