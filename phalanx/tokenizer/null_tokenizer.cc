#include "phalanx/tokenizer/null_tokenizer.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

constexpr std::string_view kWhiteSpace = " \t\r\n\v\f";

}  // namespace

NullTokenizer::NullTokenizer(int64_t vocab_size) : vocab_size_(vocab_size) {
  if (vocab_size >= 1 && vocab_size <= int64_t{1} << 31) return;
  throw Error(ErrorKind::kBadInput, {.where = "NullTokenizer",
                                     .got = fmt::format("vocab_size {}", vocab_size),
                                     .needed = "1 to 2147483648",
                                     .fix = "set model.vocab_size (--vocab-size)"});
}

std::vector<int32_t> NullTokenizer::encode(std::string_view text) const {
  std::vector<int32_t> ids;
  size_t at = text.find_first_not_of(kWhiteSpace);
  while (at != std::string_view::npos) {
    const size_t end = std::min(text.find_first_of(kWhiteSpace, at), text.size());
    const std::string_view word = text.substr(at, end - at);
    int32_t id = -1;
    const auto [stop, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error != std::errc{} || stop != word.data() + word.size() || id < 0 || id >= vocab_size_ - 1) {
      throw Error(ErrorKind::kBadInput,
                  {.where = "NullTokenizer",
                   .got = fmt::format("'{}' at byte {} of the text", word.substr(0, 40), at),
                   .needed = fmt::format("token ids from 0 to {}", vocab_size_ - 2),
                   .fix = "write whole numbers between spaces, or choose another tokenizer"});
    }
    ids.push_back(id);
    at = text.find_first_not_of(kWhiteSpace, end);
  }
  return ids;
}

std::string NullTokenizer::piece(int32_t id, bool first) const {
  check_id(id);
  if (id == *eod()) return "";
  return (first ? "" : " ") + std::to_string(id);
}

}  // namespace phalanx
