#include "phalanx/kernels/grad_norm/grad_norm.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <limits>

#include "phalanx/kernels/grad_norm/grad_norm_ref.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::kernels {
namespace {

using testing::random_tensor;

constexpr int64_t kBlock = 1 << 16;

// Cheap values of many magnitudes.
Tensor ramp(int64_t n, at::ScalarType dtype) {
  const Tensor i = at::arange(n, at::kDouble);
  return ((i * 0.7).cos() * (i.remainder(9) - 4).exp()).to(dtype);
}

TEST(SumOfSquares, EqualsTheReferenceForEveryLengthAndDtype) {
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const int64_t n : {int64_t{1}, int64_t{15}, int64_t{16}, int64_t{17}, kBlock - 1, kBlock, kBlock + 1,
                            3 * kBlock + 5}) {
      const Tensor x = ramp(n, dtype);
      const Tensor sum = sum_of_squares(x);
      EXPECT_EQ(sum.scalar_type(), at::kDouble);
      EXPECT_EQ(sum.dim(), 0);
      const double expected = sum_of_squares_ref(x).item<double>();
      EXPECT_NEAR(sum.item<double>() / expected, 1.0, 1e-13) << toString(dtype) << " " << n;
    }
  }
  EXPECT_EQ(sum_of_squares(at::tensor({3.0, 4.0}, at::kDouble)).item<double>(), 25.0);
  EXPECT_EQ(sum_of_squares(at::empty({0}, at::kFloat)).item<double>(), 0.0);
}

TEST(SumOfSquares, LargeSumsLoseNothingInFloat) {
  // 2^24 ones overflow the integers of a float sum; fp64 keeps them.
  const Tensor x = at::ones({(1 << 24) + 3}, at::kFloat);
  EXPECT_EQ(sum_of_squares(x).item<double>(), static_cast<double>((1 << 24) + 3));
  EXPECT_EQ(sum_of_squares_ref(x).item<double>(), static_cast<double>((1 << 24) + 3));
}

TEST(SumOfSquares, BitsDoNotDependOnTheThreadCount) {
  const int before = at::get_num_threads();
  const Tensor x = ramp(37 * kBlock + 1234, at::kFloat);
  at::set_num_threads(1);
  const double one = sum_of_squares(x).item<double>();
  for (const int threads : {2, 3, 5}) {
    at::set_num_threads(threads);
    EXPECT_EQ(sum_of_squares(x).item<double>(), one) << threads;
  }
  at::set_num_threads(before);
}

TEST(SumOfSquares, NotANumberAndInfinityComeThrough) {
  for (const int64_t where : {int64_t{0}, kBlock + 7, 2 * kBlock + 2}) {
    Tensor x = ramp(2 * kBlock + 3, at::kFloat);
    x[where] = std::numeric_limits<float>::infinity();
    EXPECT_TRUE(std::isinf(sum_of_squares(x).item<double>())) << where;
    x[where] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_TRUE(std::isnan(sum_of_squares(x).item<double>())) << where;
  }
}

TEST(SumOfSquaresDeathTest, RefusesOtherShapes) {
  EXPECT_DEATH(sum_of_squares(at::zeros({2, 2})), "contiguous flat floating tensor");
  EXPECT_DEATH(sum_of_squares(at::zeros({4}).slice(0, 0, 4, 2)), "contiguous flat floating tensor");
}

}  // namespace
}  // namespace phalanx::kernels
