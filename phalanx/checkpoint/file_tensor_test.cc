#include "phalanx/checkpoint/file_tensor.h"

#include <ATen/ATen.h>

#include <limits>

#include "phalanx/checkpoint/test_folders.h"

namespace phalanx {
namespace {

using ::testing::AllOf;
using testing::error_of;
using ::testing::HasSubstr;
using testing::same_bits;

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

TEST(FileTensor, DtypesMapOneToOne) {
  for (const FileDtype dtype :
       {FileDtype::kBool, FileDtype::kU8, FileDtype::kI8, FileDtype::kI16, FileDtype::kU16, FileDtype::kI32,
        FileDtype::kU32, FileDtype::kI64, FileDtype::kU64, FileDtype::kF16, FileDtype::kBF16, FileDtype::kF32,
        FileDtype::kF64}) {
    EXPECT_EQ(file_dtype_of(scalar_type_of(dtype)), dtype);
    EXPECT_EQ(c10::elementSize(scalar_type_of(dtype)), dtype_size(dtype));
  }
  EXPECT_EQ(dtype_word(at::kBFloat16), "bfloat16");
}

TEST(FileTensor, FloatDtypesHaveTwoNames) {
  EXPECT_EQ(parse_float_dtype("bf16", "--dtype"), at::kBFloat16);
  EXPECT_EQ(parse_float_dtype("bfloat16", "--dtype"), at::kBFloat16);
  EXPECT_EQ(parse_float_dtype("fp64", "--dtype"), at::kDouble);
  const Error error = error_of([] { parse_float_dtype("int8", "--dtype"); });
  EXPECT_EQ(error.kind(), ErrorKind::kUsage);
  EXPECT_THAT(error.what(), HasSubstr("--dtype: got 'int8'; needed fp64, fp32, bf16 or fp16"));
}

TEST(FileTensor, BytesOnAnOddAddressAreCopied) {
  const Tensor values = at::arange(4, at::kFloat);
  std::vector<std::byte> buffer(1 + values.nbytes());
  std::ranges::copy(bytes_of(values), buffer.begin() + 1);
  EXPECT_TRUE(same_bits(tensor_over(std::span(buffer).subspan(1), FileDtype::kF32, {4}), values));
  EXPECT_TRUE(same_bits(tensor_over(bytes_of(values), FileDtype::kF32, {2, 2}), values.view({2, 2})));
  EXPECT_EQ(tensor_over({}, FileDtype::kF32, {0, 3}).sizes().vec(), (Shape{0, 3}));
}

TEST(FileTensor, WhatIsNotFiniteIsCountedByKind) {
  const Tensor values = at::tensor({1.0, kNan, kInf, -kInf, 2.0, kNan}).view({2, 3});
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16}) {
    for (const Tensor& view : {values.to(dtype), values.to(dtype).t()}) {
      const NonFinite counted = count_non_finite(view);
      EXPECT_EQ(counted.nan, 2);
      EXPECT_EQ(counted.inf, 2);
    }
  }
  EXPECT_FALSE(count_non_finite(at::ones({3}, at::kLong)).any());
  EXPECT_FALSE(count_non_finite(at::empty({0})).any());
  EXPECT_FALSE(
      count_non_finite(at::full({4}, 1e308, at::kDouble)).any());  // their sum overflows, they do not
  // One bad value behind the first chunk that is looked at.
  Tensor large = at::zeros({(1 << 22) + 10}, at::kBFloat16);
  large[(1 << 22) + 3] = kNan;
  EXPECT_EQ(count_non_finite(large).nan, 1);
}

TEST(FileTensor, ConversionRefusesToMakeInfinities) {
  const Tensor values = at::tensor({1.0F, 70000.0F, -1e10F, std::numeric_limits<float>::infinity()});
  const Error error = error_of([&] { convert_checked(values, at::kHalf, "head.weight"); });
  EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
  EXPECT_THAT(error.what(), AllOf(HasSubstr("tensor 'head.weight': got 2 values too large for float16"),
                                  HasSubstr("such as bf16")));
  // An infinity that was there before is no fault of the conversion.
  EXPECT_TRUE(same_bits(convert_checked(values, at::kBFloat16, "w"), values.to(at::kBFloat16)));
  const Tensor strided = at::arange(6, at::kFloat).view({2, 3}).t();
  EXPECT_TRUE(convert_checked(strided, at::kHalf, "w").is_contiguous());
  EXPECT_TRUE(same_bits(convert_checked(strided, at::kFloat, "w"), strided));
}

}  // namespace
}  // namespace phalanx
