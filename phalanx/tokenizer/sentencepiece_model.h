// File: phalanx/tokenizer/sentencepiece_model.h
//
// Purpose: what a SentencePiece .model file says, read before the library sees it. The library trusts its files: a
//   broken normalization table makes it read outside of its memory.
// Contract: returns only what the library can use safely: well-formed fields, pieces that are UTF-8 without NUL and
//   have finite scores, a normalization trie that stays inside its array. Anything else is Error(kBadInput) that names
//   the field and its byte. Whether pieces are unique and complete is left to the library, which checks it.
// Source: sentencepiece_model.proto; the darts-clone double array.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace phalanx {

enum class PieceType { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

struct SentencePieceModel {
  struct Piece {
    std::string text;
    PieceType type = PieceType::kNormal;
  };
  std::vector<Piece> pieces;              // by id
  std::string unknown_text = " \u2047 ";  // what an unknown piece decodes to
  bool add_dummy_prefix = true;           // a space before every text
  bool remove_extra_whitespaces = true;
};

// where: the file's name, for errors.
SentencePieceModel read_sentencepiece_model(std::string_view bytes, const std::string& where);

}  // namespace phalanx
