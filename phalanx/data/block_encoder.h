// File: phalanx/data/block_encoder.h
//
// Purpose: a block of text as packed documents: the part of `data tokenize` that runs on many threads.
// Contract: a pure function of the block and the settings. A line of JSON is one document in each column (key), or is
//   rejected in all of them; an empty text is a document without a sequence, as Megatron writes it, and gets no end of
//   document. Text that is no UTF-8 is repaired and counted. Not thread-safe: one encoder a thread.
// Errors: a token id that the dtype cannot hold is Error(kBadInput): the tokenizer is at fault, not the line.
// Units: tokens, bytes of UTF-8 text; lines count from 1 within the block.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "phalanx/data/indexed_writer.h"
#include "phalanx/data/jsonl_reader.h"
#include "phalanx/data/reject.h"
#include "phalanx/data/text_blocks.h"
#include "phalanx/tokenizer/tokenizer.h"

namespace phalanx {

struct EncodeSettings {
  std::vector<std::string> keys = {"text"};
  bool append_eod = false;
  TokenDtype dtype = TokenDtype::kInt32;
  int64_t max_document_bytes = int64_t{1} << 30;
};

struct EncodedBlock {
  std::vector<PackedDocuments> columns;  // by key
  std::vector<int64_t> text_bytes;       // by key
  int64_t lines = 0;                     // blank ones included; a document that is a file is one line
  int64_t blank = 0;
  int64_t repaired = 0;
  std::array<int64_t, kRejectReasons> rejected{};
  std::vector<RejectedLine> first_rejected;
};

class BlockEncoder {
 public:
  BlockEncoder(const Tokenizer& tokenizer, const EncodeSettings& settings);
  EncodedBlock encode(const TextBlock& block, TextFormat format);

 private:
  void encode_line(std::string_view line);
  void encode_document(std::string_view text);
  void reject(Rejection rejection);
  // Ids of all texts of one document of column `key` into ids_ and lengths_; false when the tokenizer refused.
  bool encode_texts(size_t key, std::span<const std::string_view> texts);
  void keep_documents();

  const Tokenizer* tokenizer_;
  EncodeSettings settings_;
  std::unique_ptr<TextEncoder> encoder_;
  JsonlReader reader_;
  struct Column {
    std::vector<int32_t> ids;
    std::vector<int32_t> lengths;
    int64_t bytes = 0;
  };
  std::vector<Column> line_;  // the current line, by key
  EncodedBlock out_;
};

}  // namespace phalanx
