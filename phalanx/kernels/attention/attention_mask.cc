#include "phalanx/kernels/attention/attention_mask.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>

#include "phalanx/base/error.h"
#include "phalanx/kernels/attention/attention_cpu.h"
#include "phalanx/kernels/dropout/dropout.h"

namespace phalanx::kernels {
namespace {

// Beyond the last element that has random bits of its own, masks would silently repeat.
void check_element_range(const AttentionSpec& spec, int64_t sample, int64_t A, int64_t S) {
  const auto heads = static_cast<__int128>(sample) * spec.num_heads_global + spec.first_head + A;
  // Compared by division: S * S alone fits in 64 bits, its product with the heads of a batch may not.
  if (heads <= kMaxPhiloxElements / (S * S)) return;
  throw Error(
      ErrorKind::kBadInput,
      {.where = "model.attention_dropout",
       .got = fmt::format("sample {} of a step, with {} heads of {} x {} probabilities", sample,
                          spec.num_heads_global, S, S),
       .needed = "at most 2^50 probabilities a layer in a step, each of which has random bits of its own",
       .fix = fmt::format("set attention_dropout to 0, or the global batch size to at most {}",
                          std::max<int64_t>(1, kMaxPhiloxElements / (S * S) / spec.num_heads_global))});
}

}  // namespace

Tensor hidden_keys(int64_t first_query, int64_t n, int64_t first_key, int64_t count, int64_t window,
                   const Tensor& document, at::Device device) {
  const auto options = at::TensorOptions(at::kLong).device(device);
  const Tensor i = at::arange(first_query, first_query + n, options).unsqueeze(1);
  const Tensor j = at::arange(first_key, first_key + count, options).unsqueeze(0);
  Tensor hidden = j > i;
  if (window > 0) hidden.logical_or_(j <= i - window);
  if (document.defined()) {
    hidden.logical_or_(document.narrow(0, first_query, n).unsqueeze(1) !=
                       document.narrow(0, first_key, count).unsqueeze(0));
  }
  return hidden;
}

Tensor dropped_probabilities(const AttentionSpec& spec, int64_t sample, int64_t A, int64_t S,
                             at::Device device) {
  check_element_range(spec, sample, A, S);
  const int64_t first = (sample * spec.num_heads_global + spec.first_head) * S * S;
  if (!device.is_cpu()) {
    const Tensor elements = at::arange(first, first + A * S * S, at::TensorOptions(at::kLong).device(device));
    return dropout_keep_mask(elements, spec.key, spec.dropout).logical_not_().view({A, S, S});
  }
  Tensor dropped = at::empty({A, S, S}, at::TensorOptions(at::kBool));
  bool* to = dropped.data_ptr<bool>();
  const uint32_t threshold = dropout_threshold(spec.dropout);
  const int64_t grain = std::max<int64_t>(1, (1 << 13) / S);
  at::parallel_for(0, A * S, grain, [&](int64_t begin, int64_t end) {
    dropped_rows(spec.key, threshold, static_cast<uint64_t>(first), S, to, begin, end);
  });
  return dropped;
}

}  // namespace phalanx::kernels
