#include "phalanx/checkpoint/file_tensor.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

struct DtypeRow {
  FileDtype file;
  at::ScalarType scalar;
  const char* word;
};

constexpr auto kDtypes = std::to_array<DtypeRow>({{FileDtype::kBool, at::kBool, "bool"},
                                                  {FileDtype::kU8, at::kByte, "uint8"},
                                                  {FileDtype::kI8, at::kChar, "int8"},
                                                  {FileDtype::kI16, at::kShort, "int16"},
                                                  {FileDtype::kU16, at::kUInt16, "uint16"},
                                                  {FileDtype::kI32, at::kInt, "int32"},
                                                  {FileDtype::kU32, at::kUInt32, "uint32"},
                                                  {FileDtype::kI64, at::kLong, "int64"},
                                                  {FileDtype::kU64, at::kUInt64, "uint64"},
                                                  {FileDtype::kF16, at::kHalf, "float16"},
                                                  {FileDtype::kBF16, at::kBFloat16, "bfloat16"},
                                                  {FileDtype::kF32, at::kFloat, "float32"},
                                                  {FileDtype::kF64, at::kDouble, "float64"}});

struct FloatName {
  const char* name;
  at::ScalarType dtype;
};

constexpr auto kFloatNames = std::to_array<FloatName>({{"fp64", at::kDouble},
                                                       {"fp32", at::kFloat},
                                                       {"fp16", at::kHalf},
                                                       {"bf16", at::kBFloat16},
                                                       {"float64", at::kDouble},
                                                       {"float32", at::kFloat},
                                                       {"float16", at::kHalf},
                                                       {"bfloat16", at::kBFloat16}});

const DtypeRow& row_of(at::ScalarType dtype) {
  const auto it =
      std::find_if(kDtypes.begin(), kDtypes.end(), [&](const DtypeRow& r) { return r.scalar == dtype; });
  PHALANX_CHECK(it != kDtypes.end(), "no file dtype for this tensor");
  return *it;
}

constexpr int64_t kChunk = int64_t{1} << 22;  // elements looked at together

}  // namespace

FileDtype file_dtype_of(at::ScalarType dtype) {
  return row_of(dtype).file;
}

at::ScalarType scalar_type_of(FileDtype dtype) {
  const auto it =
      std::find_if(kDtypes.begin(), kDtypes.end(), [&](const DtypeRow& r) { return r.file == dtype; });
  PHALANX_CHECK(it != kDtypes.end(), "unknown file dtype");
  return it->scalar;
}

std::string dtype_word(at::ScalarType dtype) {
  return row_of(dtype).word;
}

at::ScalarType parse_float_dtype(const std::string& text, const std::string& where) {
  for (const FloatName& known : kFloatNames) {
    if (text == known.name) return known.dtype;
  }
  throw Error(ErrorKind::kUsage, {.where = where,
                                  .got = "'" + text + "'",
                                  .needed = "fp64, fp32, bf16 or fp16",
                                  .fix = "leave it out to keep the stored dtype"});
}

Tensor tensor_over(std::span<const std::byte> bytes, FileDtype dtype, const Shape& shape) {
  const auto options = at::TensorOptions(scalar_type_of(dtype));
  if (bytes.empty()) return at::empty(shape, options);
  const auto address = reinterpret_cast<uintptr_t>(bytes.data());
  if (address % dtype_size(dtype) == 0) {
    return at::from_blob(const_cast<std::byte*>(bytes.data()), shape, options);
  }
  Tensor copy = at::empty(shape, options);
  std::memcpy(copy.data_ptr(), bytes.data(), bytes.size());
  return copy;
}

std::span<const std::byte> bytes_of(const Tensor& contiguous_cpu) {
  PHALANX_CHECK(contiguous_cpu.is_contiguous() && contiguous_cpu.is_cpu(),
                "bytes of a strided or remote tensor");
  return {static_cast<const std::byte*>(contiguous_cpu.const_data_ptr()), contiguous_cpu.nbytes()};
}

Tensor convert_checked(const Tensor& tensor, at::ScalarType dtype, const std::string& name) {
  const Tensor source = tensor.cpu();
  if (source.scalar_type() == dtype) return source.contiguous();
  Tensor converted = source.to(dtype, /*non_blocking=*/false, /*copy=*/false, at::MemoryFormat::Contiguous);
  if (!at::isFloatingType(dtype) || at::promote_types(source.scalar_type(), dtype) == dtype) return converted;
  const int64_t overflowed = count_non_finite(converted).inf - count_non_finite(source).inf;
  if (overflowed > 0) {
    throw Error(ErrorKind::kBadInput,
                {.where = "tensor '" + name + "'",
                 .got = std::to_string(overflowed) + " values too large for " + dtype_word(dtype),
                 .needed = "values that stay finite",
                 .fix = "choose a dtype with more range, such as bf16 or fp32"});
  }
  return converted;
}

NonFinite count_non_finite(const Tensor& tensor) {
  NonFinite counted;
  if (!at::isFloatingType(tensor.scalar_type())) return counted;
  // A transposed view is walked in the order of its memory; the count does not mind.
  const Tensor flat =
      tensor.dim() == 2 && tensor.t().is_contiguous() ? tensor.t().flatten() : tensor.flatten();
  for (int64_t begin = 0; begin < flat.numel(); begin += kChunk) {
    const Tensor part = flat.narrow(0, begin, std::min(kChunk, flat.numel() - begin));
    if (at::isfinite(part.sum(at::kDouble)).item<bool>()) continue;
    const int64_t nan = at::isnan(part).sum().item<int64_t>();
    counted.nan += nan;
    counted.inf += at::isfinite(part).logical_not().sum().item<int64_t>() - nan;
  }
  return counted;
}

}  // namespace phalanx
