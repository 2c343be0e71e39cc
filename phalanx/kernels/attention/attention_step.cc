// Generation. The queries of a group are stacked as in attention_ref.cc; many rows go in blocks, so that the scores
// stay small whatever the prompt's length.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "phalanx/base/error.h"
#include "phalanx/kernels/arguments.h"
#include "phalanx/kernels/attention/attention.h"
#include "phalanx/kernels/attention/attention_mask.h"

namespace phalanx::kernels {
namespace {

constexpr int64_t kRowsAtOnce = 128;

// Rows q [n, A, D] at indices first .. first + n - 1; k and v [L, G, D].
Tensor step_rows(const Tensor& q, const Tensor& k, const Tensor& v, int64_t first,
                 const AttentionSpec& spec) {
  const int64_t n = q.size(0);
  const int64_t G = k.size(1);
  const int64_t R = q.size(1) / G;
  const int64_t D = q.size(2);
  // Keys that some row sees.
  const int64_t begin = spec.window > 0 ? std::max<int64_t>(0, first - spec.window + 1) : 0;
  const int64_t count = first + n - begin;
  const Tensor keys = k.narrow(0, begin, count).permute({1, 2, 0}).to(arithmetic_dtype(q));  // [G, D, count]
  const Tensor values =
      v.narrow(0, begin, count).permute({1, 0, 2}).to(arithmetic_dtype(q));  // [G, count, D]
  const Tensor queries = (q.to(arithmetic_dtype(q)) * spec.scale)
                             .view({n, G, R, D})
                             .permute({1, 2, 0, 3})
                             .reshape({G, R * n, D});
  Tensor scores = queries.bmm(keys);
  if (n > 1) {
    const Tensor hidden = hidden_keys(first, n, begin, count, spec.window, {}, q.device());
    scores.view({G * R, n, count}).masked_fill_(hidden, -std::numeric_limits<double>::infinity());
  }
  const Tensor out = scores.softmax(-1).bmm(values);
  return out.view({G, R, n, D}).permute({2, 0, 1, 3}).reshape({n, G * R, D}).to(q.scalar_type()).contiguous();
}

}  // namespace

Tensor attention_step(const Tensor& q, const Tensor& k, const Tensor& v, int64_t first,
                      const AttentionSpec& spec) {
  PHALANX_CHECK(q.dim() == 3 && k.dim() == 3 && k.sizes() == v.sizes() && q.size(2) == k.size(2) &&
                    q.size(1) % k.size(1) == 0,
                fmt::format("attention_step: q {}, k {}, v {}", fmt::join(q.sizes(), "x"),
                            fmt::join(k.sizes(), "x"), fmt::join(v.sizes(), "x")));
  const int64_t n = q.size(0);
  PHALANX_CHECK(n > 0 && first >= 0 && first + n <= k.size(0),
                fmt::format("attention_step: rows {} to {} of {} keys", first, first + n - 1, k.size(0)));
  PHALANX_CHECK(spec.dropout == 0.0, "attention_step: generation drops nothing");
  if (n <= kRowsAtOnce) return step_rows(q.contiguous(), k, v, first, spec);
  std::vector<Tensor> blocks;
  for (int64_t begin = 0; begin < n; begin += kRowsAtOnce) {
    const Tensor rows = q.narrow(0, begin, std::min(kRowsAtOnce, n - begin)).contiguous();
    blocks.push_back(step_rows(rows, k, v, first + begin, spec));
  }
  return at::cat(blocks);
}

}  // namespace phalanx::kernels
