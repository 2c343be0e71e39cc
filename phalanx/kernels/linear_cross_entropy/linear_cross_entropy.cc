#include "phalanx/kernels/linear_cross_entropy/linear_cross_entropy.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>

#include "phalanx/base/error.h"
#include "phalanx/kernels/linear_cross_entropy/linear_cross_entropy_cpu.h"
#include "phalanx/kernels/linear_cross_entropy/linear_cross_entropy_ref.h"

namespace phalanx::kernels {
namespace {

at::ScalarType accumulate_type(const Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

template <typename T>
void head_chunk_cpu(Tensor& logits, const Tensor& labels, const Tensor& loss_weight, int64_t valid_vocab,
                    Tensor& nll) {
  const HeadRows<T> rows{.logits = logits.data_ptr<T>(),
                         .row_stride = logits.stride(0),
                         .valid = valid_vocab,
                         .padded = logits.size(1),
                         .labels = labels.const_data_ptr<int64_t>(),
                         .loss_weight = loss_weight.defined() ? loss_weight.const_data_ptr<T>() : nullptr,
                         .nll = nll.data_ptr<T>()};
  at::parallel_for(0, logits.size(0), 1, [&](int64_t begin, int64_t end) { head_rows<T>(rows, begin, end); });
}

void head_chunk(Tensor& logits, const Tensor& labels, const Tensor& loss_weight, int64_t valid_vocab,
                Tensor& nll) {
  if (!logits.device().is_cpu()) return head_chunk_ref(logits, labels, loss_weight, valid_vocab, nll);
  if (logits.scalar_type() == at::kDouble) {
    return head_chunk_cpu<double>(logits, labels, loss_weight, valid_vocab, nll);
  }
  head_chunk_cpu<float>(logits, labels, loss_weight, valid_vocab, nll);
}

void check_inputs(const Tensor& x, const Tensor& weight, const Tensor& labels, const Tensor& loss_weight,
                  const GradSlot* dweight, int64_t valid_vocab, int64_t chunk_rows) {
  PHALANX_CHECK(x.dim() == 2 && weight.dim() == 2 && x.size(1) == weight.size(1) &&
                    x.scalar_type() == weight.scalar_type(),
                fmt::format("linear_cross_entropy: x {} and weight {}", fmt::join(x.sizes(), "x"),
                            fmt::join(weight.sizes(), "x")));
  PHALANX_CHECK(labels.dim() == 1 && labels.size(0) == x.size(0) && labels.scalar_type() == at::kLong,
                "linear_cross_entropy: labels are int64, one a row");
  PHALANX_CHECK(valid_vocab > 0 && valid_vocab <= weight.size(0),
                fmt::format("linear_cross_entropy: {} valid of {} columns", valid_vocab, weight.size(0)));
  PHALANX_CHECK(chunk_rows > 0, "linear_cross_entropy: a chunk holds at least one row");
  PHALANX_CHECK(!loss_weight.defined() || (loss_weight.sizes() == labels.sizes() &&
                                           loss_weight.scalar_type() == accumulate_type(x)),
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
                                        const Gemm& gemm, int64_t chunk_rows) {
  check_inputs(x, weight, labels, loss_weight, dweight, valid_vocab, chunk_rows);
  const int64_t T = x.size(0);
  const bool with_gradient = loss_weight.defined();
  const auto accumulators = x.options().dtype(accumulate_type(x));
  const Tensor x_rows = x.contiguous();
  const Tensor label_rows = labels.contiguous();
  const Tensor weight_rows = with_gradient ? loss_weight.contiguous() : loss_weight;

  LinearCrossEntropy result;
  result.nll = at::empty({T}, accumulators);
  if (with_gradient) result.dx = at::empty(x.sizes(), x.options());
  const int64_t rows = std::min(chunk_rows, T);
  const Tensor buffer = at::empty({rows, weight.size(0)}, accumulators);
  const bool half = x.scalar_type() != accumulate_type(x);
  // The products of half models read half gradients.
  const Tensor half_buffer =
      half && with_gradient ? at::empty({rows, weight.size(0)}, x.options()) : Tensor();
  double beta = dweight == nullptr ? 0.0 : dweight->beta;
  for (int64_t begin = 0; begin < T; begin += rows) {
    const int64_t n = std::min(rows, T - begin);
    const Tensor x_chunk = x_rows.narrow(0, begin, n);
    Tensor logits = buffer.narrow(0, 0, n);
    Tensor nll = result.nll.narrow(0, begin, n);
    gemm(x_chunk, weight.t(), logits, 0.0);
    head_chunk(logits, label_rows.narrow(0, begin, n),
               with_gradient ? weight_rows.narrow(0, begin, n) : Tensor(), valid_vocab, nll);
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

Tensor head_logits(const Tensor& x, const Tensor& weight, int64_t valid_vocab, const Gemm& gemm) {
  PHALANX_CHECK(x.dim() == 2 && weight.dim() == 2 && x.size(1) == weight.size(1) && valid_vocab > 0 &&
                    valid_vocab <= weight.size(0),
                fmt::format("head_logits: x {}, weight {}, {} valid columns", fmt::join(x.sizes(), "x"),
                            fmt::join(weight.sizes(), "x"), valid_vocab));
  Tensor logits = at::empty({x.size(0), valid_vocab}, x.options().dtype(accumulate_type(x)));
  gemm(x.contiguous(), weight.narrow(0, 0, valid_vocab).t(), logits, 0.0);
  return logits;
}

}  // namespace phalanx::kernels
