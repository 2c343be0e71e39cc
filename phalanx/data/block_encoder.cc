#include "phalanx/data/block_encoder.h"

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/tokenizer/stream_decoder.h"
#include "phalanx/tokenizer/utf8.h"

namespace phalanx {
namespace {

constexpr size_t kMaxTokens = 2147483647;

}  // namespace

BlockEncoder::BlockEncoder(const Tokenizer& tokenizer, const EncodeSettings& settings)
    : tokenizer_(&tokenizer),
      settings_(settings),
      encoder_(tokenizer.make_encoder()),
      reader_(settings.keys),
      line_(settings.keys.size()) {}

EncodedBlock BlockEncoder::encode(const TextBlock& block, TextFormat format) {
  out_ = EncodedBlock();
  out_.columns.resize(settings_.keys.size());
  out_.text_bytes.resize(settings_.keys.size());
  const std::string_view text = block.text.text();
  if (block.too_long) {
    ++out_.lines;
    reject({RejectReason::kTooLong, fmt::format("{} bytes", block.unpacked)});
  } else if (format == TextFormat::kDocument) {
    ++out_.lines;
    encode_document(text);
  } else {
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      ++out_.lines;
      encode_line(text.substr(begin, end - begin));
      begin = end + 1;
    }
  }
  return std::move(out_);
}

void BlockEncoder::reject(Rejection rejection) {
  ++out_.rejected[static_cast<size_t>(rejection.reason)];
  if (out_.first_rejected.size() < RejectCounts::kExamples)
    out_.first_rejected.push_back({out_.lines, std::move(rejection)});
}

void BlockEncoder::encode_line(std::string_view line) {
  if (line.find_first_not_of(" \t\r") == std::string_view::npos) {
    ++out_.blank;
    return;
  }
  if (static_cast<int64_t>(line.size()) > settings_.max_document_bytes)
    return reject({RejectReason::kTooLong, fmt::format("{} bytes", line.size())});
  if (auto rejection = reader_.read(line)) return reject(std::move(*rejection));
  for (size_t k = 0; k < settings_.keys.size(); ++k) {
    if (!encode_texts(k, reader_.texts(k))) return;
  }
  if (reader_.repaired()) ++out_.repaired;
  keep_documents();
}

void BlockEncoder::encode_document(std::string_view text) {
  if (const size_t at = text.find('\0'); at != std::string_view::npos)
    return reject({RejectReason::kNulByte, fmt::format("a NUL byte at position {}: no text file", at)});
  std::string repaired;
  const bool good = is_utf8(text);
  if (!good) repaired = valid_utf8(text);
  const std::string_view valid = good ? text : repaired;
  for (size_t k = 0; k < settings_.keys.size(); ++k) {
    if (!encode_texts(k, std::span(&valid, 1))) return;
  }
  if (!good) ++out_.repaired;
  keep_documents();
}

bool BlockEncoder::encode_texts(size_t key, std::span<const std::string_view> texts) {
  Column& column = line_[key];
  column.ids.clear();
  column.lengths.clear();
  column.bytes = 0;
  for (const std::string_view text : texts) {
    const size_t before = column.ids.size();
    try {
      encoder_->encode(text, column.ids);
    } catch (const Error& e) {
      if (e.kind() != ErrorKind::kBadInput) throw;
      reject({RejectReason::kNotEncodable, e.what()});
      return false;
    }
    const size_t length = column.ids.size() - before;
    if (length >= kMaxTokens) {
      reject({RejectReason::kTooLong, fmt::format("{} tokens", length)});
      return false;
    }
    if (length > 0) column.lengths.push_back(static_cast<int32_t>(length));
    column.bytes += static_cast<int64_t>(text.size());
  }
  if (settings_.append_eod && !column.lengths.empty()) {
    column.ids.push_back(*tokenizer_->eod());
    ++column.lengths.back();
  }
  return true;
}

void BlockEncoder::keep_documents() {
  for (size_t k = 0; k < line_.size(); ++k) {
    const Column& column = line_[k];
    PackedDocuments& packed = out_.columns[k];
    pack_tokens(std::span<const int32_t>(column.ids), settings_.dtype, tokenizer_->name(), packed.tokens);
    packed.lengths.insert(packed.lengths.end(), column.lengths.begin(), column.lengths.end());
    packed.documents.push_back(static_cast<int32_t>(column.lengths.size()));
    out_.text_bytes[k] += column.bytes;
  }
}

}  // namespace phalanx
