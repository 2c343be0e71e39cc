#include "phalanx/tokenizer/byte_tokenizer.h"

namespace phalanx {

std::vector<int32_t> ByteTokenizer::encode(std::string_view text) const {
  std::vector<int32_t> ids;
  ids.reserve(text.size());
  for (const char c : text) ids.push_back(static_cast<uint8_t>(c));
  return ids;
}

std::string ByteTokenizer::piece(int32_t id, bool) const {
  check_id(id);
  return id == kEod ? std::string() : std::string(1, static_cast<char>(id));
}

}  // namespace phalanx
