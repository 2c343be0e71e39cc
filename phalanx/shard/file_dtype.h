// File: phalanx/shard/file_dtype.h
//
// Purpose: the element types that files hold, under their safetensors names (F32, BF16, ...).
// Contract: pure; the 8-bit, 6-bit and 4-bit float names are known so that an error can say so, but not
// supported. Units: bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "phalanx/shard/box.h"

namespace phalanx {

enum class FileDtype { kBool, kU8, kI8, kI16, kU16, kI32, kU32, kI64, kU64, kF16, kBF16, kF32, kF64 };

std::string_view dtype_name(FileDtype dtype);
uint64_t dtype_size(FileDtype dtype);

// Error(kBadInput) at `where` for a name that is unknown or known but not supported.
FileDtype parse_file_dtype(std::string_view name, const std::string& where);

// Bytes of a dense tensor; nothing when a size is negative or the product leaves 63 bits.
std::optional<uint64_t> dense_bytes(FileDtype dtype, const Shape& shape);

}  // namespace phalanx
