#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "phalanx/kernels/flush_denormals.h"
#include "phalanx/kernels/ssd/ssd_chunk.h"
#include "phalanx/kernels/ssd/ssd_walk.h"

namespace phalanx::kernels {
namespace {

constexpr int64_t kRowsPerTask = 64;

// What a block of heads adds to dB and dC: [blocks of a group, B, S, G, N].
template <typename T>
struct Shares {
  T* dB;
  T* dC;
};

template <typename T>
class Backward {
 public:
  Backward(const SsdChunkInputs& in, const SsdShape& s, const Tensor& dy, const Tensor& dfinal,
           const Tensor& states, const Tensor& slope, const Shares<T>& shares, const SsdChunkGradients& out)
      : in_(in),
        s_(s),
        dy_rows_(dy),
        dfinal_(dfinal),
        states_(states),
        slope_(slope),
        shares_(shares),
        out_(out),
        rows_(s),
        decays_(s),
        B_(s.chunk * s.states),
        C_(s.chunk * s.states),
        Bt_(s.states * s.ld),
        G_(s.chunk * s.ld),
        dG_(s.chunk * s.ld),
        dB_(s.chunk * s.states),
        dC_(s.chunk * s.states),
        xt_(s.width * s.ld),
        dxt_(s.width * s.ld),
        dy_(s.chunk * s.width),
        dy_before_(s.chunk * s.width),
        W_(s.chunk * s.ld),
        M_(s.chunk * s.ld),
        R_(s.block_heads * s.width * s.states),
        straight_(s.ld),
        across_(s.ld),
        ones_(s.ld),
        from_after_(s.ld),
        from_before_(s.ld) {
    std::fill_n(ones_.get(), s.ld, T(1));
  }

  void run(const SsdTask& task) {
    const int64_t size = s_.width * s_.states;
    if (dfinal_.defined()) {
      const T* from = dfinal_.const_data_ptr<T>() + (task.sample * s_.heads + task.first_head) * size;
      std::copy_n(from, (task.last_head - task.first_head) * size, R_.get());
    }
    double* sums = out_.heads.data_ptr<double>() + task.sample * s_.heads * 3;
    std::fill(sums + task.first_head * 3, sums + task.last_head * 3, 0.0);
    for (int64_t c = s_.chunks - 1; c >= 0; --c) {
      const int64_t* document =
          in_.document.defined() ? in_.document.const_data_ptr<int64_t>() + task.sample * s_.rows : nullptr;
      rows_.set(s_, document, c);
      prepare_group(task);
      for (int64_t h = task.first_head; h < task.last_head; ++h) head(task, c, h, sums + h * 3);
      finish_group(task);
    }
    if (out_.dinitial.defined()) {
      std::copy_n(R_.get(), (task.last_head - task.first_head) * size,
                  out_.dinitial.data_ptr<T>() + (task.sample * s_.heads + task.first_head) * size);
    }
  }

 private:
  void prepare_group(const SsdTask& task) {
    const int64_t n = rows_.rows();
    const SsdSample<T> B(in_.B, task.sample);
    const SsdSample<T> C(in_.C, task.sample);
    const int64_t column = task.group * s_.states;
    const T* B_rows = B.at(rows_.first(), column);
    bodies_.scale_rows(n, s_.states, B_rows, B.row_stride, nullptr, B_.get(), s_.states);
    bodies_.transpose(n, s_.states, B_rows, B.row_stride, Bt_.get(), s_.ld);
    bodies_.scale_rows(n, s_.states, C.at(rows_.first(), column), C.row_stride, nullptr, C_.get(), s_.states);
    products_.product({n, n, s_.states}, SsdPart::kLower, {C_.get(), s_.states, false}, {Bt_.get(), s_.ld},
                      {G_.get(), s_.ld});
    std::fill_n(dG_.get(), n * s_.ld, T(0));
    std::fill_n(dB_.get(), n * s_.states, T(0));
    std::fill_n(dC_.get(), n * s_.states, T(0));
  }

  // The products of dG, and the sums over the heads of this block.
  void finish_group(const SsdTask& task) {
    const int64_t n = rows_.rows();
    products_.ranged({n, s_.states, n}, {dG_.get(), s_.ld, true}, {C_.get(), s_.states}, rows_.later(),
                     {dB_.get(), s_.states});
    products_.ranged({n, s_.states, n}, {dG_.get(), s_.ld, false}, {B_.get(), s_.states}, rows_.earlier(),
                     {dC_.get(), s_.states});
    const int64_t row = (task.block * s_.batch + task.sample) * s_.rows + rows_.first();
    const int64_t place = (row * s_.groups + task.group) * s_.states;
    const int64_t stride = s_.groups * s_.states;
    bodies_.scale_rows(n, s_.states, dB_.get(), s_.states, nullptr, shares_.dB + place, stride);
    bodies_.scale_rows(n, s_.states, dC_.get(), s_.states, nullptr, shares_.dC + place, stride);
  }

  void head(const SsdTask& task, int64_t c, int64_t h, double* sums) {
    const int64_t n = rows_.rows();
    const int64_t row = task.sample * s_.rows + rows_.first();
    const double A = static_cast<double>(in_.A.const_data_ptr<T>()[h]);
    decays_.set(bodies_, rows_.get(), in_.delta.const_data_ptr<T>() + row * s_.heads + h, s_.heads, A);
    const SsdDecays<T>& d = decays_.get();
    const SsdSample<T> x(in_.x, task.sample);
    const SsdSample<T> dy(dy_rows_, task.sample);
    const T* dy_first = dy.at(rows_.first(), h * s_.width);
    bodies_.transpose(n, s_.width, x.at(rows_.first(), h * s_.width), x.row_stride, xt_.get(), s_.ld);
    bodies_.scale_rows(n, s_.width, dy_first, dy.row_stride, nullptr, dy_.get(), s_.width);
    bodies_.scale_rows(n, s_.width, dy_first, dy.row_stride, d.before, dy_before_.get(), s_.width);

    if (h + 1 < task.last_head) {
      ssd_prefetch(x.at(rows_.first(), (h + 1) * s_.width), x.row_stride, n, s_.width);
      ssd_prefetch(dy_first + s_.width, dy.row_stride, n, s_.width);
    }
    products_.product({n, n, s_.width}, SsdPart::kLower, {dy_.get(), s_.width, false}, {xt_.get(), s_.ld},
                      {W_.get(), s_.ld});
    sums[2] += bodies_.backward_matrix(rows_.get(), d, in_.D.const_data_ptr<T>()[h],
                                       {.ld = s_.ld,
                                        .G = G_.get(),
                                        .W = W_.get(),
                                        .M = M_.get(),
                                        .dG = dG_.get(),
                                        .straight = straight_.get(),
                                        .across = across_.get()});
    const double dwhole = states(task, c, h, d);
    const SsdSample<T> dx(out_.dx, task.sample);
    bodies_.transpose(s_.width, n, dxt_.get(), s_.ld, dx.at(rows_.first(), h * s_.width), dx.row_stride);
    time_steps(task, h, A, d, dwhole, sums);
  }

  // Everything that passes through the states around the chunk. Returns the gradient of the sum of delta A over
  // the chunk.
  double states(const SsdTask& task, int64_t c, int64_t h, const SsdDecays<T>& d) {
    const int64_t n = rows_.rows();
    const int64_t carried = rows_.get().carried;
    const int64_t size = s_.width * s_.states;
    const T* before = states_.const_data_ptr<T>() + ((task.sample * s_.chunks + c) * s_.heads + h) * size;
    T* R = R_.get() + (h - task.first_head) * size;
    const bool has_after = c + 1 < s_.chunks || dfinal_.defined();
    const bool has_before = (c > 0 || in_.has_initial) && carried > 0;

    products_.pair({s_.width, n, has_after ? s_.states : 0}, {R, s_.states, false}, {Bt_.get(), s_.ld},
                   d.inject, {dy_.get(), s_.width, true}, {M_.get(), s_.ld}, rows_.later(),
                   {dxt_.get(), s_.ld});
    std::fill_n(from_after_.get(), n, T(0));
    std::fill_n(from_before_.get(), n, T(0));
    if (has_after) {
      products_.dots({n, s_.states, s_.width}, {xt_.get(), s_.ld, true}, {R, s_.states},
                     {B_.get(), s_.states}, d.inject, from_after_.get(), {dB_.get(), s_.states});
    }
    double dwhole = 0.0;
    if (has_before) {
      products_.dots({carried, s_.states, s_.width}, {dy_before_.get(), s_.width, false}, {before, s_.states},
                     {C_.get(), s_.states}, ones_.get(), from_before_.get(), {dC_.get(), s_.states});
      if (has_after && carried == n) dwhole = static_cast<double>(d.whole) * bodies_.dot(size, R, before);
    }
    if (c > 0 || out_.dinitial.defined()) {
      const bool carries = has_after && carried == n;
      products_.onto({s_.width, s_.states, carried}, {dy_before_.get(), s_.width, true},
                     {C_.get(), s_.states}, d.whole, {carries ? R : nullptr, s_.states}, {R, s_.states});
    }
    return dwhole;
  }

  // From the gradients of the decays to those of dt, dt_bias and A.
  void time_steps(const SsdTask& task, int64_t h, double A, const SsdDecays<T>& d, double dwhole,
                  double* sums) {
    const int64_t n = rows_.rows();
    const T* after = from_after_.get();
    T* dalpha = across_.get();
    double later = dwhole;
    for (int64_t j = n - 1; j >= 0; --j) {
      later += static_cast<double>(from_before_.get()[j]);
      dalpha[j] += static_cast<T>(later);
    }
    const T* slope = slope_.const_data_ptr<T>() + (task.sample * s_.rows + rows_.first()) * s_.heads + h;
    const SsdSample<T> ddt(out_.ddt, task.sample);
    double earlier = 0.0;
    for (int64_t j = 0; j < n; ++j) {
      const double alpha = static_cast<double>(dalpha[j]) + earlier;
      earlier += static_cast<double>(d.inject[j] * after[j]);
      const double direct = static_cast<double>(straight_.get()[j] + d.after[j] * after[j]);
      const double dt = (direct + A * alpha) * static_cast<double>(slope[j * s_.heads]);
      *ddt.at(rows_.first() + j, h) = static_cast<T>(dt);
      sums[0] += dt;
      sums[1] += static_cast<double>(d.delta[j]) * alpha;
    }
  }

  const SsdChunkInputs& in_;
  const SsdShape& s_;
  const Tensor& dy_rows_;
  const Tensor& dfinal_;
  const Tensor& states_;
  const Tensor& slope_;
  Shares<T> shares_;
  const SsdChunkGradients& out_;
  const SsdProducts<T>& products_ = ssd_products<T>();
  const SsdBodies<T>& bodies_ = ssd_bodies<T>();
  SsdChunkRows rows_;
  SsdHeadDecays<T> decays_;
  // Named as in models.md; t: transposed.
  SsdScratch<T> B_, C_, Bt_, G_, dG_, dB_, dC_, xt_, dxt_, dy_, dy_before_, W_, M_, R_, straight_, across_,
      ones_, from_after_, from_before_;
};

// out [B, S, G, N] = the sum of the shares, block by block.
template <typename T>
void add_shares(const SsdShape& s, const T* shares, const Tensor& out) {
  const int64_t columns = s.groups * s.states;
  at::parallel_for(0, s.batch * s.rows, kRowsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      T* to = SsdSample<T>(out, r / s.rows).at(r % s.rows, 0);
      std::copy_n(shares + r * columns, columns, to);
      for (int64_t block = 1; block < s.blocks; ++block) {
        const T* from = shares + (block * s.batch * s.rows + r) * columns;
        for (int64_t i = 0; i < columns; ++i) to[i] += from[i];
      }
    }
  });
}

}  // namespace

template <typename T>
void ssd_chunk_backward(const SsdChunkInputs& in, const Tensor& dy, const Tensor& dfinal,
                        const Tensor& states, const Tensor& slope, const SsdChunkGradients& out) {
  const SsdShape shape(in);
  const std::vector<int64_t> sizes = {2, shape.blocks, shape.batch, shape.rows, shape.groups, shape.states};
  const Tensor buffer = at::empty(sizes, in.x.options());
  const Shares<T> shares = {buffer.data_ptr<T>(), buffer.data_ptr<T>() + buffer.stride(0)};
  at::parallel_for(0, shape.tasks(), 1, [&](int64_t begin, int64_t end) {
    const FlushDenormals flush;
    Backward<T> backward(in, shape, dy, dfinal, states, slope, shares, out);
    for (int64_t i = begin; i < end; ++i) backward.run(SsdTask(shape, i));
  });
  add_shares(shape, shares.dB, out.dB);
  add_shares(shape, shares.dC, out.dC);
}

template void ssd_chunk_backward<float>(const SsdChunkInputs&, const Tensor&, const Tensor&, const Tensor&,
                                        const Tensor&, const SsdChunkGradients&);
template void ssd_chunk_backward<double>(const SsdChunkInputs&, const Tensor&, const Tensor&, const Tensor&,
                                         const Tensor&, const SsdChunkGradients&);

}  // namespace phalanx::kernels
