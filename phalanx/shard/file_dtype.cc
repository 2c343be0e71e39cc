#include "phalanx/shard/file_dtype.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

struct DtypeRow {
  FileDtype dtype;
  std::string_view name;
  uint64_t size;
};

constexpr std::array<DtypeRow, 13> kDtypes = {{{FileDtype::kBool, "BOOL", 1},
                                               {FileDtype::kU8, "U8", 1},
                                               {FileDtype::kI8, "I8", 1},
                                               {FileDtype::kI16, "I16", 2},
                                               {FileDtype::kU16, "U16", 2},
                                               {FileDtype::kI32, "I32", 4},
                                               {FileDtype::kU32, "U32", 4},
                                               {FileDtype::kI64, "I64", 8},
                                               {FileDtype::kU64, "U64", 8},
                                               {FileDtype::kF16, "F16", 2},
                                               {FileDtype::kBF16, "BF16", 2},
                                               {FileDtype::kF32, "F32", 4},
                                               {FileDtype::kF64, "F64", 8}}};

constexpr std::array<std::string_view, 9> kNotSupported = {
    "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F6_E2M3", "F6_E3M2", "F4", "C64"};

const DtypeRow& row_of(FileDtype dtype) {
  return kDtypes[static_cast<size_t>(dtype)];
}

}  // namespace

std::string_view dtype_name(FileDtype dtype) {
  return row_of(dtype).name;
}

uint64_t dtype_size(FileDtype dtype) {
  return row_of(dtype).size;
}

FileDtype parse_file_dtype(std::string_view name, const std::string& where) {
  for (const DtypeRow& row : kDtypes) {
    if (row.name == name) return row.dtype;
  }
  std::string names;
  for (const DtypeRow& row : kDtypes) names += (names.empty() ? "" : " ") + std::string(row.name);
  const bool known = std::find(kNotSupported.begin(), kNotSupported.end(), name) != kNotSupported.end();
  throw Error(
      ErrorKind::kBadInput,
      {.where = where,
       .got = fmt::format("{} dtype '{}'", known ? "the not supported" : "the unknown", name.substr(0, 40)),
       .needed = "one of " + names,
       .fix = known ? "store the tensor as BF16 or F32" : "check that the file is a safetensors file"});
}

std::optional<uint64_t> dense_bytes(FileDtype dtype, const Shape& shape) {
  int64_t bytes = static_cast<int64_t>(dtype_size(dtype));
  for (const int64_t size : shape) {
    if (size < 0 || __builtin_mul_overflow(bytes, size, &bytes)) return std::nullopt;
  }
  return static_cast<uint64_t>(bytes);
}

}  // namespace phalanx
