// File: phalanx/tokenizer/sentencepiece_tokenizer.h
//
// Purpose: the tokenizer of a SentencePiece model (unigram or BPE), encoded by the SentencePiece library.
// Contract: encode gives the library's ids without begin or end of text. Text is normalized as the model says, so decode
//   gives back normalized text. Pieces decode to their bytes with U+2581 as a space; at the start of a text the space
//   that encode put there goes. Byte pieces are
//   exactly their byte, where the library's decode writes U+FFFD for bytes that make no character. Unknown pieces decode
//   to the model's text for them, " U+2047 " by default. Control pieces decode to nothing and never come from text;
//   user-defined pieces are part of the text.
// Errors: Error(kIo) for a file that cannot be read, Error(kBadInput) for one that is no such model, and for an
//   end-of-document token that is no control piece of it.
// Source: Kudo and Richardson 2018; the library, version 0.1.97.
// Example: load_sentencepiece("llama/tokenizer.model", "")->encode("hi");
#pragma once

#include <memory>
#include <string>

#include "phalanx/tokenizer/tokenizer.h"

namespace phalanx {

// path: a .model file, or a folder with tokenizer.model. eod_token: the piece that ends a document; empty: the model's
// end-of-sentence piece, if it has one.
std::unique_ptr<Tokenizer> load_sentencepiece(const std::string& path, const std::string& eod_token);

}  // namespace phalanx
