#include "phalanx/tokenizer/tokenizer.h"

#include <fmt/format.h>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

class PlainEncoder final : public TextEncoder {
 public:
  explicit PlainEncoder(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}
  void encode(std::string_view text, std::vector<int32_t>& ids) override {
    const std::vector<int32_t> more = tokenizer_->encode(text);
    ids.insert(ids.end(), more.begin(), more.end());
  }

 private:
  const Tokenizer* tokenizer_;
};

}  // namespace

std::vector<int32_t> Tokenizer::encode_with(std::string_view text, const EncodeOptions&) const {
  return encode(text);
}

std::unique_ptr<TextEncoder> Tokenizer::make_encoder() const {
  return std::make_unique<PlainEncoder>(*this);
}

std::string Tokenizer::decode(std::span<const int32_t> ids) const {
  std::string text;
  bool first = true;
  for (const int32_t id : ids) {
    text += piece(id, first);
    first = first && !begins_text(id);
  }
  return text;
}

void Tokenizer::check_id(int32_t id) const {
  if (id >= 0 && id < vocab_size()) return;
  throw Error(ErrorKind::kBadInput, {.where = name(),
                                     .got = fmt::format("token id {}", id),
                                     .needed = fmt::format("0 to {}", vocab_size() - 1),
                                     .fix = "use the tokenizer that made these tokens"});
}

std::vector<int64_t> token_byte_counts(const Tokenizer& tokenizer) {
  std::vector<int64_t> counts;
  for (int64_t id = 0; id < tokenizer.vocab_size(); ++id) {
    counts.push_back(static_cast<int64_t>(tokenizer.piece(static_cast<int32_t>(id), false).size()));
  }
  return counts;
}

}  // namespace phalanx
