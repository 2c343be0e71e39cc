#include <unordered_map>

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/tokenizer/byte_alphabet.h"
#include "phalanx/tokenizer/tokenizer_json_reader.h"

namespace phalanx {
namespace {

[[noreturn]] void fail(std::string where, std::string got, std::string needed) {
  throw Error(ErrorKind::kBadInput, {.where = std::move(where),
                                     .got = std::move(got),
                                     .needed = std::move(needed),
                                     .fix = "check the file; it may be of another kind or cut short"});
}

std::string bytes_of(const std::string& text, const std::string& where) {
  std::optional<std::string> bytes = from_byte_alphabet(text);
  if (!bytes || bytes->empty()) {
    fail(fmt::format("{}: vocab['{}']", where, text), "a token outside the alphabet of byte-level BPE",
         "GPT-2's printable characters, one for each byte");
  }
  return *std::move(bytes);
}

}  // namespace

BpeModel build_model(std::vector<std::pair<std::string, int32_t>> vocab,
                     const std::vector<std::pair<std::string, std::string>>& merges,
                     const std::vector<AddedToken>& added, const std::string& where) {
  std::unordered_map<std::string_view, int32_t> added_ids;
  for (const AddedToken& token : added) added_ids.emplace(token.content, token.id);
  std::unordered_map<std::string_view, int32_t> ids;
  ids.reserve(vocab.size());
  int32_t last = -1;
  for (const auto& [text, id] : vocab) last = std::max(last, id);
  if (static_cast<size_t>(last) + 1 > vocab.size() + added.size()) {
    fail(where + ": vocab", fmt::format("{} tokens with ids up to {}", vocab.size(), last),
         "ids without holes");
  }
  BpeModel model;
  model.tokens.resize(static_cast<size_t>(last) + 1);
  std::vector<bool> taken(model.tokens.size());
  for (const auto& [text, id] : vocab) {
    const std::string place = fmt::format("{}: vocab['{}']", where, text);
    if (!ids.emplace(text, id).second) fail(place, "the token a second time", "every token once");
    if (taken[static_cast<size_t>(id)])
      fail(place, fmt::format("id {}, which another token has", id), "an id of its own");
    taken[static_cast<size_t>(id)] = true;
    const auto as_added = added_ids.find(text);
    if (as_added == added_ids.end()) {
      model.tokens[static_cast<size_t>(id)] = bytes_of(text, where);
    } else if (const auto bytes = from_byte_alphabet(text); bytes && bytes->size() == 1) {
      model.tokens[static_cast<size_t>(id)] = *bytes;
    }
    if (as_added != added_ids.end() && as_added->second != id) {
      fail(place, fmt::format("id {}", id), fmt::format("{}, as in added_tokens", as_added->second));
    }
  }
  const auto find = [&](const std::string& text, size_t rank) {
    const auto found = ids.find(text);
    if (found == ids.end()) {
      fail(fmt::format("{}: merges[{}]", where, rank), fmt::format("'{}'", text), "tokens of the vocab");
    }
    std::string& bytes = model.tokens[static_cast<size_t>(found->second)];
    if (bytes.empty()) bytes = bytes_of(text, where);
    return found->second;
  };
  model.merges.reserve(merges.size());
  std::string both;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    both.assign(merges[rank].first).append(merges[rank].second);
    model.merges.push_back({.left = find(merges[rank].first, rank),
                            .right = find(merges[rank].second, rank),
                            .result = find(both, rank)});
  }
  return model;
}

}  // namespace phalanx
