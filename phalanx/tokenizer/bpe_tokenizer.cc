#include "phalanx/tokenizer/bpe_tokenizer.h"

#include <algorithm>
#include <bit>
#include <limits>

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/tokenizer/split_steps.h"
#include "phalanx/tokenizer/stream_decoder.h"
#include "phalanx/tokenizer/utf8.h"

namespace phalanx {
namespace {

constexpr int kCacheBits = 18;          // of an encoder that reads a corpus
constexpr size_t kPiecesAtOnce = 4096;  // their ends fit into the first cache

// An end-of-document token that the file keeps among the ordinary ones must not come out of text either.
BpeSpec with_special(BpeSpec spec, std::optional<int32_t> eod, const std::string& where) {
  const auto same = [&](const AddedToken& token) { return token.id == eod; };
  if (const auto found = std::find_if(spec.added.begin(), spec.added.end(), same);
      found != spec.added.end()) {
    found->special = true;
  } else if (eod) {
    PHALANX_CHECK(static_cast<size_t>(*eod) < spec.model.tokens.size(), "eod is a token of the spec");
    spec.added.push_back(
        {.id = *eod, .content = spec.model.tokens[static_cast<size_t>(*eod)], .special = true});
  }
  check_bpe(spec, where);
  std::vector<bool> needed(spec.model.tokens.size());
  for (const BpeMerge& merge : spec.model.merges) {
    needed[static_cast<size_t>(merge.left)] = needed[static_cast<size_t>(merge.right)] = true;
  }
  for (const AddedToken& token : spec.added) {
    const auto at = static_cast<size_t>(token.id);
    if (token.special && at < needed.size() && !needed[at]) spec.model.tokens[at].clear();
  }
  return spec;
}

AddedTokenFinder make_finder(const BpeSpec& spec, bool normalized) {
  std::vector<AddedToken> tokens;
  std::vector<std::string> contents;
  for (const AddedToken& token : spec.added) {
    if (token.normalized != normalized) continue;
    tokens.push_back(token);
    contents.push_back(normalized && spec.nfc ? to_nfc(token.content).value_or(token.content)
                                              : token.content);
  }
  return AddedTokenFinder(std::move(tokens), std::move(contents));
}

std::vector<std::string> make_bytes(const BpeSpec& spec) {
  std::vector<std::string> bytes = spec.model.tokens;
  bytes.resize(static_cast<size_t>(bpe_vocab_size(spec)));
  for (const AddedToken& token : spec.added) {
    bytes[static_cast<size_t>(token.id)] = token.special ? "" : token.content;
  }
  return bytes;
}

// A cache about as large as the text, so that encoding a line does not cost clearing megabytes.
int cache_bits_for(size_t text_size) {
  return std::clamp(static_cast<int>(std::bit_width(text_size / 16)), 4, kCacheBits);
}

}  // namespace

std::optional<int32_t> find_token(const BpeSpec& spec, std::string_view content) {
  for (const AddedToken& token : spec.added) {
    if (token.content == content) return token.id;
  }
  const auto& tokens = spec.model.tokens;
  const auto found = content.empty() ? tokens.end() : std::find(tokens.begin(), tokens.end(), content);
  if (found == tokens.end()) return std::nullopt;
  return static_cast<int32_t>(found - tokens.begin());
}

class BpeTokenizer::Encoder final : public TextEncoder {
 public:
  Encoder(const BpeTokenizer& tokenizer, int cache_bits, const EncodeOptions& options)
      : tokenizer_(tokenizer),
        spec_(tokenizer.spec_),
        options_(options),
        pattern_(single_pattern(tokenizer.spec_)),
        pieces_(tokenizer.merger_, cache_bits) {}

  void encode(std::string_view text, std::vector<int32_t>& ids) override {
    std::string valid;
    if (!is_utf8(text)) {
      valid = valid_utf8(text);
      text = valid;
    }
    const auto add = [&](const std::vector<int32_t>& around) {
      if (options_.add_template) ids.insert(ids.end(), around.begin(), around.end());
    };
    add(spec_.template_head);
    std::vector<AddedTokenFinder::Part> parts;
    tokenizer_.before_.split(text, options_.special, parts);
    for (const AddedTokenFinder::Part& part : parts) {
      if (part.id == AddedTokenFinder::kText) {
        encode_raw(part.text, ids);
      } else {
        ids.push_back(part.id);
      }
    }
    add(spec_.template_tail);
  }

 private:
  void encode_raw(std::string_view text, std::vector<int32_t>& ids) {
    std::optional<std::string> normal;
    if (spec_.nfc) normal = to_nfc(text);
    std::vector<AddedTokenFinder::Part> parts;
    tokenizer_.after_.split(normal ? std::string_view(*normal) : text, options_.special, parts);
    for (const AddedTokenFinder::Part& part : parts) {
      if (part.id != AddedTokenFinder::kText) {
        ids.push_back(part.id);
      } else if (spec_.add_prefix_space && part.text[0] != ' ') {
        encode_pieces(" " + std::string(part.text), ids);
      } else {
        encode_pieces(part.text, ids);
      }
    }
  }

  void encode_pieces(std::string_view text, std::vector<int32_t>& ids) {
    if (text.size() >= std::numeric_limits<uint32_t>::max()) {
      throw Error(ErrorKind::kBadInput, {.where = tokenizer_.name_,
                                         .got = fmt::format("a text of {} bytes", text.size()),
                                         .needed = "less than 4 GiB",
                                         .fix = "cut the text into documents"});
    }
    if (!pattern_) {
      ends_.clear();
      split_in_steps(spec_, text, ends_);
      pieces_.encode(text, ends_, 0, ids);
      return;
    }
    for (size_t begin = 0; begin < text.size();) {
      ends_.clear();
      const size_t end = split_pieces(*pattern_, text, begin, kPiecesAtOnce, ends_);
      pieces_.encode(text, ends_, begin, ids);
      begin = end;
    }
  }

  const BpeTokenizer& tokenizer_;
  const BpeSpec& spec_;
  EncodeOptions options_;
  std::optional<SplitPattern> pattern_;
  PieceEncoder pieces_;
  std::vector<uint32_t> ends_;
};

BpeTokenizer::BpeTokenizer(BpeSpec spec, std::string name, std::optional<int32_t> eod)
    : spec_(with_special(std::move(spec), eod, name)),
      name_(std::move(name)),
      eod_(eod),
      bytes_(make_bytes(spec_)),
      merger_(spec_.model),
      before_(make_finder(spec_, false)),
      after_(make_finder(spec_, true)) {}

std::vector<int32_t> BpeTokenizer::encode_with(std::string_view text, const EncodeOptions& options) const {
  std::vector<int32_t> ids;
  Encoder(*this, cache_bits_for(text.size()), options).encode(text, ids);
  return ids;
}

std::unique_ptr<TextEncoder> BpeTokenizer::make_encoder() const {
  return std::make_unique<Encoder>(*this, kCacheBits, EncodeOptions{});
}

std::string BpeTokenizer::piece(int32_t id, bool) const {
  check_id(id);
  return bytes_[static_cast<size_t>(id)];
}

}  // namespace phalanx
