#include "phalanx/kernels/linear_cross_entropy/linear_cross_entropy.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>

#include "phalanx/base/error.h"
#include "phalanx/kernels/arguments.h"
#include "phalanx/kernels/linear_cross_entropy/linear_cross_entropy_cpu.h"
#include "phalanx/kernels/linear_cross_entropy/linear_cross_entropy_ref.h"

namespace phalanx::kernels {
namespace {

int64_t ranks_of(const comm::Group* group) {
  return group == nullptr ? 1 : group->size();
}

// What of the vocabulary this rank has.
struct Columns {
  comm::Group* group = nullptr;  // nullptr: all of it
  int64_t first = 0;
  int64_t valid = 0;

  bool shared() const { return group != nullptr; }
};

Columns columns_of_rank(const Tensor& weight, int64_t valid_vocab, comm::Group* group) {
  if (ranks_of(group) == 1) return {nullptr, 0, valid_vocab};
  const int64_t first = group->rank() * weight.size(0);
  return {group, first, std::clamp<int64_t>(valid_vocab - first, 0, weight.size(0))};
}

// One chunk: logits [rows, padded] become the gradient, in place.
struct Chunk {
  Tensor logits;
  Tensor labels;
  Tensor loss_weight;  // undefined: no gradient
  Tensor nll;
};

template <typename T>
HeadRows<T> rows_of(const Chunk& chunk, int64_t valid) {
  const Tensor& weight = chunk.loss_weight;
  return {.logits = chunk.logits.data_ptr<T>(),
          .row_stride = chunk.logits.stride(0),
          .valid = valid,
          .padded = chunk.logits.size(1),
          .labels = chunk.labels.const_data_ptr<int64_t>(),
          .loss_weight = weight.defined() ? weight.const_data_ptr<T>() : nullptr,
          .nll = chunk.nll.data_ptr<T>()};
}

template <typename T>
void head_chunk_cpu(const Chunk& chunk, const Columns& columns) {
  const HeadRows<T> rows = rows_of<T>(chunk, columns.valid);
  const int64_t n = chunk.logits.size(0);
  if (!columns.shared()) {
    at::parallel_for(0, n, 1, [&](int64_t begin, int64_t end) { head_rows<T>(rows, begin, end); });
    return;
  }
  comm::Group& group = *columns.group;
  const auto statistics = at::TensorOptions(at::kDouble);
  const Tensor own = at::empty({n, kHeadStatistics}, statistics);
  Tensor all = at::empty({group.size() * n, kHeadStatistics}, statistics);
  const HeadShard<T> shard{.rows = rows,
                           .num_rows = n,
                           .first_column = columns.first,
                           .rank = group.rank(),
                           .ranks = group.size(),
                           .own = own.data_ptr<double>(),
                           .all = all.const_data_ptr<double>()};
  at::parallel_for(0, n, 1, [&](int64_t begin, int64_t end) { head_row_statistics<T>(shard, begin, end); });
  group.all_gather(all, own);
  at::parallel_for(0, n, 1, [&](int64_t begin, int64_t end) { head_row_gradients<T>(shard, begin, end); });
}

void head_chunk_elsewhere(const Chunk& chunk, const Columns& columns) {
  if (!columns.shared()) {
    return head_chunk_ref(chunk.logits, chunk.labels, chunk.loss_weight, columns.valid, chunk.nll);
  }
  const Tensor own = head_statistics_ref(chunk.logits, chunk.labels, columns.first, columns.valid);
  Tensor all = at::empty({columns.group->size() * own.size(0), kHeadStatistics}, own.options());
  columns.group->all_gather(all, own);
  head_gradients_ref(chunk.logits, chunk.labels, chunk.loss_weight, columns.first, columns.valid,
                     all.view({-1, own.size(0), kHeadStatistics}), chunk.nll);
}

void head_chunk(const Chunk& chunk, const Columns& columns) {
  if (!chunk.logits.device().is_cpu()) return head_chunk_elsewhere(chunk, columns);
  if (chunk.logits.scalar_type() == at::kDouble) return head_chunk_cpu<double>(chunk, columns);
  head_chunk_cpu<float>(chunk, columns);
}

void check_inputs(const Tensor& x, const Tensor& weight, const Tensor& labels, const Tensor& loss_weight,
                  const GradSlot* dweight, int64_t valid_vocab, int64_t chunk_rows, int64_t ranks) {
  PHALANX_CHECK(x.dim() == 2 && weight.dim() == 2 && x.size(1) == weight.size(1) &&
                    x.scalar_type() == weight.scalar_type(),
                fmt::format("linear_cross_entropy: x {} and weight {}", fmt::join(x.sizes(), "x"),
                            fmt::join(weight.sizes(), "x")));
  PHALANX_CHECK(labels.dim() == 1 && labels.size(0) == x.size(0) && labels.scalar_type() == at::kLong,
                "linear_cross_entropy: labels are int64, one a row");
  PHALANX_CHECK(
      valid_vocab > 0 && valid_vocab <= weight.size(0) * ranks,
      fmt::format("linear_cross_entropy: {} valid of {} columns", valid_vocab, weight.size(0) * ranks));
  PHALANX_CHECK(chunk_rows > 0, "linear_cross_entropy: a chunk holds at least one row");
  PHALANX_CHECK(!loss_weight.defined() || (loss_weight.sizes() == labels.sizes() &&
                                           loss_weight.scalar_type() == arithmetic_dtype(x)),
                "linear_cross_entropy: loss_weight has one element a row, in the dtype of nll");
  PHALANX_CHECK(dweight == nullptr || (loss_weight.defined() && dweight->main_grad.sizes() == weight.sizes()),
                "linear_cross_entropy: a weight gradient needs loss_weight and the shape of the weight");
  if (labels.device().is_cpu() && labels.numel() > 0) {  // elsewhere reading them would wait for the device
    const auto [low, high] = at::aminmax(labels);
    PHALANX_CHECK(low.item<int64_t>() >= -1 && high.item<int64_t>() < valid_vocab,
                  fmt::format("linear_cross_entropy: labels {} to {} with {} columns", low.item<int64_t>(),
                              high.item<int64_t>(), valid_vocab));
  }
}

}  // namespace

LinearCrossEntropy linear_cross_entropy(const Tensor& x, const Tensor& weight, const Tensor& labels,
                                        const Tensor& loss_weight, GradSlot* dweight, int64_t valid_vocab,
                                        const Gemm& gemm, int64_t chunk_rows, comm::Group* group) {
  check_inputs(x, weight, labels, loss_weight, dweight, valid_vocab, chunk_rows, ranks_of(group));
  const Columns columns = columns_of_rank(weight, valid_vocab, group);
  const int64_t T = x.size(0);
  const bool with_gradient = loss_weight.defined();
  const auto accumulators = x.options().dtype(arithmetic_dtype(x));
  const Tensor x_rows = x.contiguous();
  const Tensor label_rows = labels.contiguous();
  const Tensor weight_rows = with_gradient ? loss_weight.contiguous() : loss_weight;

  LinearCrossEntropy result;
  result.nll = at::empty({T}, accumulators);
  if (with_gradient) result.dx = at::empty(x.sizes(), x.options());
  const int64_t rows = std::min(chunk_rows, T);
  const Tensor buffer = at::empty({rows, weight.size(0)}, accumulators);
  const bool half = x.scalar_type() != arithmetic_dtype(x);
  // The products of half models read half gradients.
  const Tensor half_buffer =
      half && with_gradient ? at::empty({rows, weight.size(0)}, x.options()) : Tensor();
  double beta = dweight == nullptr ? 0.0 : dweight->beta;
  for (int64_t begin = 0; begin < T; begin += rows) {
    const int64_t n = std::min(rows, T - begin);
    const Tensor x_chunk = x_rows.narrow(0, begin, n);
    Tensor logits = buffer.narrow(0, 0, n);
    gemm(x_chunk, weight.t(), logits, 0.0);
    head_chunk({.logits = logits,
                .labels = label_rows.narrow(0, begin, n),
                .loss_weight = with_gradient ? weight_rows.narrow(0, begin, n) : Tensor(),
                .nll = result.nll.narrow(0, begin, n)},
               columns);
    if (!with_gradient) continue;
    const Tensor dlogits = half ? half_buffer.narrow(0, 0, n).copy_(logits) : logits;
    Tensor dx = result.dx.narrow(0, begin, n);
    gemm(dlogits, weight, dx, 0.0);
    if (dweight == nullptr) continue;
    gemm(dlogits.t(), x_chunk, dweight->main_grad, beta);
    beta = 1.0;
  }
  if (T == 0 && dweight != nullptr && beta == 0.0) dweight->main_grad.zero_();  // no chunk overwrote it
  return result;
}

Tensor head_logits(const Tensor& x, const Tensor& weight, int64_t valid_vocab, const Gemm& gemm,
                   comm::Group* group) {
  const int64_t ranks = ranks_of(group);
  PHALANX_CHECK(x.dim() == 2 && weight.dim() == 2 && x.size(1) == weight.size(1) && valid_vocab > 0 &&
                    valid_vocab <= weight.size(0) * ranks,
                fmt::format("head_logits: x {}, weight {}, {} valid columns", fmt::join(x.sizes(), "x"),
                            fmt::join(weight.sizes(), "x"), valid_vocab));
  const auto accumulators = x.options().dtype(arithmetic_dtype(x));
  if (ranks == 1) {
    Tensor logits = at::empty({x.size(0), valid_vocab}, accumulators);
    gemm(x.contiguous(), weight.narrow(0, 0, valid_vocab).t(), logits, 0.0);
    return logits;
  }
  Tensor own = at::empty({x.size(0), weight.size(0)}, accumulators);
  gemm(x.contiguous(), weight.t(), own, 0.0);
  Tensor all = at::empty({ranks * x.size(0), weight.size(0)}, accumulators);
  group->all_gather(all, own);
  const Tensor rows_first = all.view({ranks, x.size(0), weight.size(0)}).transpose(0, 1);
  return rows_first.reshape({x.size(0), ranks * weight.size(0)}).narrow(1, 0, valid_vocab).contiguous();
}

}  // namespace phalanx::kernels
