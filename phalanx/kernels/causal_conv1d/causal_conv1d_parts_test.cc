// Cuts and joins: documents, windows, steps, slices of wider rows.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "phalanx/kernels/causal_conv1d/test_conv.h"

namespace phalanx::kernels {
namespace {

using namespace conv_testing;
using phalanx::testing::relative_error;

constexpr double kFp64 = 1e-10;

// Packed documents are the documents one by one; the window belongs to the first.
TEST(CausalConv1d, DocumentsEqualEachAlone) {
  const Inputs i = inputs({1, 50, 37, 4, true, false, true}).to(at::kFloat);
  const std::vector<int64_t> lengths = {2, 1, 20, 3, 24};
  Inputs packed = i;
  packed.in.document = at::empty({1, 50}, at::kLong);
  Inputs alone = i;
  alone.in.document = Tensor();
  std::vector<Tensor> ys, dxs;
  Tensor dweight = at::zeros_like(i.in.weight), dbias = at::zeros_like(i.in.bias), dwindow;
  int64_t first = 0;
  for (size_t d = 0; d < lengths.size(); ++d) {
    packed.in.document.narrow(1, first, lengths[d]).fill_(static_cast<int64_t>(d));
    alone.in.x = i.in.x.narrow(1, first, lengths[d]);
    alone.dy = i.dy.narrow(1, first, lengths[d]);
    alone.in.window = d == 0 ? i.in.window : Tensor();
    ys.push_back(causal_conv1d_forward(alone.in));
    const Gradients g = backward(alone);
    dxs.push_back(g.dx);
    dweight += g.rest.dweight;
    dbias += g.rest.dbias;
    if (d == 0) dwindow = g.rest.dwindow;
    first += lengths[d];
  }
  EXPECT_TRUE(at::equal(causal_conv1d_forward(packed.in), at::cat(ys, 1)));
  const Gradients g = backward(packed);
  EXPECT_TRUE(at::equal(g.dx, at::cat(dxs, 1)));
  EXPECT_TRUE(at::equal(g.rest.dwindow, dwindow));
  EXPECT_LE(relative_error(g.rest.dweight, dweight), 1e-6);
  EXPECT_LE(relative_error(g.rest.dbias, dbias), 1e-6);
}

// The second part reads what the first left; its window gradient is what the first part's inputs still get.
TEST(CausalConv1d, TwoPartsWithTheWindowAreOne) {
  for (const int64_t taps : {1, 2, 4, 7}) {
    for (const int64_t cut : {1, 2, 3, 11}) {
      const Inputs whole = inputs({1, 20, 19, taps, true, false, true});
      Inputs a = whole, b = whole;
      a.in.x = whole.in.x.narrow(1, 0, cut);
      a.dy = whole.dy.narrow(1, 0, cut);
      b.in.x = whole.in.x.narrow(1, cut, 20 - cut);
      b.dy = whole.dy.narrow(1, cut, 20 - cut);
      b.in.window = causal_conv1d_window(a.in.x[0], a.in.window[0], taps).unsqueeze(0);
      EXPECT_TRUE(at::equal(b.in.window, at::cat({whole.in.window, a.in.x}, 1).narrow(1, cut, taps - 1)));
      EXPECT_TRUE(at::equal(at::cat({causal_conv1d_forward(a.in), causal_conv1d_forward(b.in)}, 1),
                            causal_conv1d_forward(whole.in)));
      const Gradients g = backward(whole), first = backward(a), second = backward(b);
      const Tensor inputs_of_whole = at::cat({g.rest.dwindow, g.dx}, 1);
      Tensor sum = at::cat({first.rest.dwindow, first.dx, at::zeros_like(second.dx)}, 1);
      sum.narrow(1, cut, taps - 1) += second.rest.dwindow;
      sum.narrow(1, cut + taps - 1, 20 - cut) += second.dx;
      EXPECT_LE(relative_error(sum, inputs_of_whole), kFp64) << taps << " " << cut;
    }
  }
  const Tensor x = values({2, 3}, 0);
  EXPECT_TRUE(at::equal(causal_conv1d_window(x, Tensor(), 4), at::cat({at::zeros({1, 3}, x.options()), x})));
  EXPECT_EQ(causal_conv1d_window(x, Tensor(), 1).size(0), 0);
}

TEST(CausalConv1d, StepsEqualTheForwardRowByRow) {
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const int64_t taps : {1, 2, 4, 6, 17}) {
      const Inputs i = inputs({3, 9, 530, taps, true, false, true}).to(dtype);
      const Tensor y = causal_conv1d_forward(i.in);
      Tensor windows = at::full({5, taps - 1, 530}, 7.0, i.in.x.options());
      const Tensor slot = at::tensor({4, 0, 2}, at::kLong);
      windows.index_copy_(0, slot, i.in.window);
      for (int64_t t = 0; t < 9; ++t) {
        const Tensor row = causal_conv1d_step(i.in.x.select(1, t), i.in.weight, i.in.bias, windows, slot);
        if (taps <= 16 && dtype != at::kHalf) {
          EXPECT_TRUE(at::equal(row, y.select(1, t))) << taps << " " << t;
        } else {  // plain ops, whose rounding depends on the shape
          EXPECT_LE(relative_error(row, y.select(1, t)), dtype == at::kDouble ? 1e-14 : 1e-3)
              << taps << " " << t;
        }
      }
      for (int64_t n = 0; n < 3; ++n) {
        EXPECT_TRUE(at::equal(windows[slot[n].item<int64_t>()],
                              causal_conv1d_window(i.in.x[n], i.in.window[n], taps)));
      }
      for (const int64_t other : {1, 3}) EXPECT_TRUE(windows[other].eq(7.0).all().item<bool>());
    }
  }
}

// As the layer sees them: columns of a wider row, read and written.
TEST(CausalConv1d, ReadsAndWritesSlicesOfAWiderRow) {
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat, at::kBFloat16}) {
    const Inputs dense = inputs({2, 70, 21, 4, true, true, true}).to(dtype);
    const auto slice_of = [](const Tensor& t) { return at::cat({t, t, t}, -1).slice(-1, 21, 42); };
    Inputs wide = dense;
    wide.in.x = slice_of(dense.in.x);
    wide.in.window = slice_of(dense.in.window);
    wide.dy = slice_of(dense.dy);
    ASSERT_FALSE(wide.in.x.is_contiguous());
    EXPECT_TRUE(at::equal(causal_conv1d_forward(wide.in), causal_conv1d_forward(dense.in)));
    Tensor row = at::full({2, 70, 63}, 3.0, dense.in.x.options());
    const ConvGradients g = causal_conv1d_backward(wide.dy, wide.in, row.slice(-1, 21, 42));
    const Gradients e = backward(dense);
    EXPECT_TRUE(at::equal(row.slice(-1, 21, 42), e.dx));
    EXPECT_TRUE(row.slice(-1, 0, 21).eq(3.0).all().item<bool>() &&
                row.slice(-1, 42, 63).eq(3.0).all().item<bool>());
    EXPECT_TRUE(at::equal(g.dweight, e.rest.dweight) && at::equal(g.dbias, e.rest.dbias) &&
                at::equal(g.dwindow, e.rest.dwindow));
    wide.in.x = dense.in.x.transpose(0, 2).contiguous().transpose(0, 2);  // no unit stride: copied
    wide.dy = dense.dy.select(1, 0).unsqueeze(1).expand({2, 70, 21});
    EXPECT_TRUE(at::equal(causal_conv1d_forward(wide.in), causal_conv1d_forward(dense.in)));
    Inputs copied = dense;
    copied.dy = wide.dy.contiguous();
    EXPECT_TRUE(at::equal(backward(wide).dx, backward(copied).dx));

    const Tensor slot = at::tensor({1, 0}, at::kLong);
    Tensor pool = at::cat({dense.in.window, dense.in.window}, -1).slice(-1, 0, 21);
    Tensor dense_pool = pool.contiguous();
    const Tensor x = wide.in.x.select(1, 3);
    EXPECT_TRUE(
        at::equal(causal_conv1d_step(slice_of(x), dense.in.weight, dense.in.bias, pool, slot),
                  causal_conv1d_step(x.contiguous(), dense.in.weight, dense.in.bias, dense_pool, slot)));
    EXPECT_TRUE(at::equal(pool, dense_pool));
  }
}

}  // namespace
}  // namespace phalanx::kernels
