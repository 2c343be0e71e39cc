#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "phalanx/kernels/flush_denormals.h"
#include "phalanx/kernels/ssd/ssd_chunk.h"
#include "phalanx/kernels/ssd/ssd_walk.h"

namespace phalanx::kernels {
namespace {

template <typename T>
class Forward {
 public:
  Forward(const SsdChunkInputs& in, const SsdShape& s, const Tensor& y, const Tensor& states,
          const Tensor& final_state)
      : in_(in),
        s_(s),
        y_(y.defined() ? y.data_ptr<T>() : nullptr),
        states_(states.data_ptr<T>()),
        final_state_(final_state.defined() ? final_state.data_ptr<T>() : nullptr),
        rows_(s),
        decays_(s),
        B_(s.chunk * s.states),
        Ct_(s.states * s.ld),
        G_(s.chunk * s.ld),
        M_(s.chunk * s.ld),
        x_(s.chunk * s.width),
        injected_(s.chunk * s.width),
        yt_(s.width * s.ld) {}

  void run(const SsdTask& task) {
    for (int64_t c = 0; c < s_.chunks; ++c) {
      const int64_t* document =
          in_.document.defined() ? in_.document.const_data_ptr<int64_t>() + task.sample * s_.rows : nullptr;
      rows_.set(s_, document, c);
      group(task);
      for (int64_t h = task.first_head; h < task.last_head; ++h) head(task, c, h);
    }
  }

 private:
  // B and C of the chunk, and their product with the later row as the column.
  void group(const SsdTask& task) {
    const int64_t n = rows_.rows();
    const SsdSample<T> B(in_.B, task.sample);
    const SsdSample<T> C(in_.C, task.sample);
    const int64_t column = task.group * s_.states;
    bodies_.scale_rows(n, s_.states, B.at(rows_.first(), column), B.row_stride, nullptr, B_.get(), s_.states);
    if (y_ == nullptr) return;
    bodies_.transpose(n, s_.states, C.at(rows_.first(), column), C.row_stride, Ct_.get(), s_.ld);
    products_.product({n, n, s_.states}, SsdPart::kUpper, {B_.get(), s_.states, false}, {Ct_.get(), s_.ld},
                      {G_.get(), s_.ld});
  }

  void head(const SsdTask& task, int64_t c, int64_t h) {
    const int64_t n = rows_.rows();
    const SsdSample<T> x(in_.x, task.sample);
    const T* x_rows = x.at(rows_.first(), h * s_.width);
    const T* delta = in_.delta.const_data_ptr<T>() + (task.sample * s_.rows + rows_.first()) * s_.heads + h;
    decays_.set(bodies_, rows_.get(), delta, s_.heads, static_cast<double>(in_.A.const_data_ptr<T>()[h]));
    const SsdDecays<T>& d = decays_.get();
    const int64_t size = s_.width * s_.states;
    T* before = states_ + ((task.sample * s_.chunks + c) * s_.heads + h) * size;
    const bool has_state = c > 0 || in_.has_initial;

    if (h + 1 < task.last_head) ssd_prefetch(x_rows + s_.width, x.row_stride, n, s_.width);
    if (y_ != nullptr) {
      bodies_.forward_matrix(rows_.get(), d, G_.get(), s_.ld, in_.D.const_data_ptr<T>()[h], M_.get());
      bodies_.scale_rows(n, s_.width, x_rows, x.row_stride, nullptr, x_.get(), s_.width);
      const int64_t inner = has_state && rows_.get().carried > 0 ? s_.states : 0;
      products_.pair({s_.width, n, inner}, {before, s_.states, false}, {Ct_.get(), s_.ld}, d.before,
                     {x_.get(), s_.width, true}, {M_.get(), s_.ld}, rows_.earlier(), {yt_.get(), s_.ld});
      T* y = y_ + ((task.sample * s_.rows + rows_.first()) * s_.heads + h) * s_.width;
      bodies_.transpose(s_.width, n, yt_.get(), s_.ld, y, s_.heads * s_.width);
    }
    T* after = c + 1 < s_.chunks
                   ? before + s_.heads * size
                   : (final_state_ == nullptr ? nullptr : final_state_ + (task.sample * s_.heads + h) * size);
    if (after == nullptr) return;
    bodies_.scale_rows(n, s_.width, x_rows, x.row_stride, d.inject, injected_.get(), s_.width);
    const bool carries = has_state && rows_.get().carried == n;
    products_.onto({s_.width, s_.states, n}, {injected_.get(), s_.width, true}, {B_.get(), s_.states},
                   d.whole, {carries ? before : nullptr, s_.states}, {after, s_.states});
  }

  const SsdChunkInputs& in_;
  const SsdShape& s_;
  T* y_;
  T* states_;
  T* final_state_;
  const SsdProducts<T>& products_ = ssd_products<T>();
  const SsdBodies<T>& bodies_ = ssd_bodies<T>();
  SsdChunkRows rows_;
  SsdHeadDecays<T> decays_;
  // Named as in models.md; t: transposed.
  SsdScratch<T> B_, Ct_, G_, M_, x_, injected_, yt_;
};

}  // namespace

template <typename T>
void ssd_chunk_forward(const SsdChunkInputs& in, const Tensor& y, const Tensor& states,
                       const Tensor& final_state) {
  const SsdShape shape(in);
  at::parallel_for(0, shape.tasks(), 1, [&](int64_t begin, int64_t end) {
    const FlushDenormals flush;
    Forward<T> forward(in, shape, y, states, final_state);
    for (int64_t i = begin; i < end; ++i) forward.run(SsdTask(shape, i));
  });
}

template void ssd_chunk_forward<float>(const SsdChunkInputs&, const Tensor&, const Tensor&, const Tensor&);
template void ssd_chunk_forward<double>(const SsdChunkInputs&, const Tensor&, const Tensor&, const Tensor&);

}  // namespace phalanx::kernels
