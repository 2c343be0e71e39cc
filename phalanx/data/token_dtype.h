// File: phalanx/data/token_dtype.h
//
// Purpose: the element types of a .bin file and their codes in the .idx file.
// Contract: pure. Float types have codes but hold no token ids.
// Source: Megatron's indexed dataset (codes 1 to 8).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace phalanx {

enum class TokenDtype : uint8_t {
  kUint8 = 1,
  kInt8 = 2,
  kInt16 = 3,
  kInt32 = 4,
  kInt64 = 5,
  kFloat64 = 6,
  kFloat32 = 7,
  kUint16 = 8,
};

std::optional<TokenDtype> token_dtype_of_code(uint8_t code);
std::string_view token_dtype_name(TokenDtype dtype);
int64_t token_dtype_size(TokenDtype dtype);  // bytes
bool holds_token_ids(TokenDtype dtype);

// The ids that fit.
int64_t smallest_token(TokenDtype dtype);
int64_t largest_token(TokenDtype dtype);

// What Megatron's preprocessing writes: uint16 below 65500 tokens, else int32. 0: the vocabulary is not known.
TokenDtype token_dtype_for_vocab(int64_t vocab_size);

}  // namespace phalanx
