#include "phalanx/data/token_dtype.h"

#include <array>
#include <limits>

namespace phalanx {
namespace {

struct Row {
  std::string_view name;
  int64_t size;
  int64_t low;
  int64_t high;  // below `low` for floats
};

template <typename T>
constexpr Row integer_row(std::string_view name) {
  return {name, sizeof(T), static_cast<int64_t>(std::numeric_limits<T>::min()),
          static_cast<int64_t>(std::numeric_limits<T>::max())};
}

// By code.
constexpr std::array<Row, 9> kRows = {{{"none", 0, 0, -1},
                                       integer_row<uint8_t>("uint8"),
                                       integer_row<int8_t>("int8"),
                                       integer_row<int16_t>("int16"),
                                       integer_row<int32_t>("int32"),
                                       integer_row<int64_t>("int64"),
                                       {"float64", 8, 0, -1},
                                       {"float32", 4, 0, -1},
                                       integer_row<uint16_t>("uint16")}};

const Row& row_of(TokenDtype dtype) {
  return kRows[static_cast<size_t>(dtype)];
}

}  // namespace

std::optional<TokenDtype> token_dtype_of_code(uint8_t code) {
  if (code < 1 || code >= kRows.size()) return std::nullopt;
  return static_cast<TokenDtype>(code);
}

std::string_view token_dtype_name(TokenDtype dtype) {
  return row_of(dtype).name;
}
int64_t token_dtype_size(TokenDtype dtype) {
  return row_of(dtype).size;
}
bool holds_token_ids(TokenDtype dtype) {
  return row_of(dtype).high > row_of(dtype).low;
}
int64_t smallest_token(TokenDtype dtype) {
  return row_of(dtype).low;
}
int64_t largest_token(TokenDtype dtype) {
  return row_of(dtype).high;
}

TokenDtype token_dtype_for_vocab(int64_t vocab_size) {
  return vocab_size > 0 && vocab_size < 65500 ? TokenDtype::kUint16 : TokenDtype::kInt32;
}

}  // namespace phalanx
