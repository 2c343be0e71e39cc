// File: phalanx/checkpoint/file_tensor.h
//
// Purpose: tensors over the bytes of files: dtypes in both vocabularies, conversion that does not lose range silently,
//   a count of what is not finite.
// Contract: FileDtype and ScalarType map one to one. tensor_over copies only bytes that are not aligned for the dtype
//   and lives as long as the map. Dtype names that people write: fp64 fp32 fp16 bf16, float64 float32 float16 bfloat16.
// Errors: a value that is finite and would become infinite in a narrower dtype is Error(kBadInput) naming the tensor.
// Units: bytes; elements in NonFinite.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "phalanx/shard/file_dtype.h"

namespace phalanx {

using at::Tensor;

// Told how many bytes have been handled so far; may be empty.
using ByteProgress = std::function<void(uint64_t done)>;

FileDtype file_dtype_of(at::ScalarType dtype);
at::ScalarType scalar_type_of(FileDtype dtype);

// "float32", as PyTorch and Hugging Face write it.
std::string dtype_word(at::ScalarType dtype);
// A floating dtype by either name; Error(kUsage) at `where`.
at::ScalarType parse_float_dtype(const std::string& text, const std::string& where);

Tensor tensor_over(std::span<const std::byte> bytes, FileDtype dtype, const Shape& shape);
std::span<const std::byte> bytes_of(const Tensor& contiguous_cpu);

// On the CPU, contiguous.
Tensor convert_checked(const Tensor& tensor, at::ScalarType dtype, const std::string& name);

struct NonFinite {
  int64_t nan = 0;
  int64_t inf = 0;
  bool any() const { return nan != 0 || inf != 0; }
};

// Zero for dtypes that are not floating. Needs little memory beside the tensor.
NonFinite count_non_finite(const Tensor& tensor);

}  // namespace phalanx
