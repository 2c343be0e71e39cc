#include "phalanx/tokenizer/sentencepiece_tokenizer.h"

#include <fmt/format.h>
#include <sentencepiece_processor.h>

#include <charconv>
#include <exception>
#include <filesystem>
#include <utility>
#include <vector>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/tokenizer/sentencepiece_model.h"

namespace phalanx {
namespace {

constexpr std::string_view kSpace = "\u2581";
constexpr std::string_view kName = "SentencePieceTokenizer";

std::string with_spaces(std::string_view piece) {
  std::string text;
  while (!piece.empty()) {
    const bool space = piece.starts_with(kSpace);
    text += space ? ' ' : piece.front();
    piece.remove_prefix(space ? kSpace.size() : 1);
  }
  return text;
}

// "<0x0A>" is the byte 10. The library has checked that byte pieces are spelled so.
std::string byte_of(const std::string& piece) {
  int byte = 0;
  std::from_chars(piece.data() + 3, piece.data() + 5, byte, 16);
  return std::string(1, static_cast<char>(byte));
}

class SentencePieceTokenizer final : public Tokenizer {
 public:
  SentencePieceTokenizer(std::string_view file, const std::string& where, const std::string& eod_token);

  std::string name() const override { return std::string(kName); }
  int64_t vocab_size() const override { return static_cast<int64_t>(texts_.size()); }
  std::optional<int32_t> eod() const override { return eod_; }
  std::vector<int32_t> encode(std::string_view text) const override;
  std::string piece(int32_t id, bool first) const override;
  bool begins_text(int32_t id) const override;

 private:
  std::optional<int32_t> find_eod(const std::string& eod_token, const std::string& where) const;

  sentencepiece::SentencePieceProcessor processor_;
  std::vector<std::string> texts_;  // by id, as they stand within a text
  std::vector<bool> spaced_;        // by id: begins with a space that goes at the start of a text
  bool keeps_extra_spaces_;
  std::optional<int32_t> eod_;
};

SentencePieceTokenizer::SentencePieceTokenizer(std::string_view file, const std::string& where,
                                               const std::string& eod_token) {
  const SentencePieceModel model = read_sentencepiece_model(file, where);
  std::string problem;
  try {
    const sentencepiece::util::Status status = processor_.LoadFromSerializedProto(file);
    if (!status.ok()) problem = status.message();
  } catch (const std::exception& e) {  // its trie builder throws
    problem = e.what();
  }
  if (!problem.empty()) {
    throw Error(ErrorKind::kBadInput, {.where = where,
                                       .got = fmt::format("a model that SentencePiece refuses: {}", problem),
                                       .needed = "a SentencePiece model",
                                       .fix = "give the .model file that SentencePiece wrote"});
  }
  PHALANX_CHECK(processor_.GetPieceSize() == static_cast<int>(model.pieces.size()), where);
  const bool drops_space = model.add_dummy_prefix || model.remove_extra_whitespaces;
  for (const auto& [text, type] : model.pieces) {
    spaced_.push_back(
        drops_space && text.starts_with(kSpace) &&
        (type == PieceType::kNormal || type == PieceType::kUserDefined || type == PieceType::kUnused));
    texts_.push_back(type == PieceType::kControl   ? ""
                     : type == PieceType::kUnknown ? model.unknown_text
                     : type == PieceType::kByte    ? byte_of(text)
                                                   : with_spaces(text));
  }
  keeps_extra_spaces_ = !model.remove_extra_whitespaces;
  eod_ = find_eod(eod_token, where);
}

std::optional<int32_t> SentencePieceTokenizer::find_eod(const std::string& eod_token,
                                                        const std::string& where) const {
  if (eod_token.empty()) {
    const int id = processor_.eos_id();
    return id < 0 ? std::nullopt : std::optional<int32_t>(id);
  }
  const int id = processor_.PieceToId(eod_token);
  if (processor_.IdToPiece(id) == eod_token && processor_.IsControl(id)) return id;
  throw Error(ErrorKind::kBadInput,
              {.where = where,
               .got = fmt::format(
                   "end-of-document token '{}', which is {}", eod_token,
                   processor_.IdToPiece(id) == eod_token ? "a piece of text" : "no piece of this model"),
               .needed = "a control piece",
               .fix = "leave it out for the model's end of sentence"});
}

std::vector<int32_t> SentencePieceTokenizer::encode(std::string_view text) const {
  std::vector<int> ids;
  const sentencepiece::util::Status status = processor_.Encode(text, &ids);
  if (!status.ok()) {
    throw Error(ErrorKind::kBadInput,
                {.where = name(),
                 .got = fmt::format("a text of {} bytes: {}", text.size(), status.message()),
                 .needed = "text that SentencePiece encodes",
                 .fix = ""});
  }
  return ids;
}

std::string SentencePieceTokenizer::piece(int32_t id, bool first) const {
  check_id(id);
  const std::string& text = texts_[static_cast<size_t>(id)];
  return first && spaced_[static_cast<size_t>(id)] ? text.substr(1) : text;
}

// Where extra spaces count, only one goes at the start: a piece that was just this space has begun the text.
bool SentencePieceTokenizer::begins_text(int32_t id) const {
  return !piece(id, true).empty() || (keeps_extra_spaces_ && spaced_[static_cast<size_t>(id)]);
}

}  // namespace

std::unique_ptr<Tokenizer> load_sentencepiece(const std::string& path, const std::string& eod_token) {
  constexpr size_t kLargest = size_t{1} << 30;
  const std::string file =
      std::filesystem::is_directory(path) ? (std::filesystem::path(path) / "tokenizer.model").string() : path;
  const MappedFile bytes(file);
  if (bytes.text().size() > kLargest) {
    throw Error(ErrorKind::kBadInput, {.where = file,
                                       .got = fmt::format("{} bytes", bytes.text().size()),
                                       .needed = fmt::format("a SentencePiece model of at most {}", kLargest),
                                       .fix = "give the .model file that SentencePiece wrote"});
  }
  return std::make_unique<SentencePieceTokenizer>(bytes.text(), file, eod_token);
}

}  // namespace phalanx
