#include "phalanx/tokenizer/bpe_model.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/tokenizer/byte_alphabet.h"

namespace phalanx {
namespace {

[[noreturn]] void fail(const std::string& where, std::string got, std::string needed) {
  throw Error(ErrorKind::kBadInput, {.where = where,
                                     .got = std::move(got),
                                     .needed = std::move(needed),
                                     .fix = "check the file; it may be cut short or edited by hand"});
}

void check_tokens(const BpeModel& model, const std::string& where) {
  std::unordered_map<std::string_view, size_t> seen;
  seen.reserve(model.tokens.size());
  for (size_t id = 0; id < model.tokens.size(); ++id) {
    if (model.tokens[id].empty()) continue;
    const auto [other, fresh] = seen.emplace(model.tokens[id], id);
    if (fresh) continue;
    fail(where + ": vocab",
         fmt::format("ids {} and {} both for '{}'", other->second, id, to_byte_alphabet(model.tokens[id])),
         "one id for each token");
  }
  for (int b = 0; b < 256; ++b) {
    const char byte = static_cast<char>(b);
    if (seen.count(std::string_view(&byte, 1)) != 0) continue;
    fail(where + ": vocab",
         fmt::format("no token for byte 0x{:02X} ('{}')", b, to_byte_alphabet(std::string_view(&byte, 1))),
         "all 256 single bytes, as a byte-level BPE has them");
  }
}

void check_merges(const BpeModel& model, const std::string& where) {
  std::unordered_set<uint64_t> seen;
  seen.reserve(model.merges.size());
  const auto token = [&](int32_t id, size_t rank) -> const std::string& {
    if (id >= 0 && static_cast<size_t>(id) < model.tokens.size() &&
        !model.tokens[static_cast<size_t>(id)].empty()) {
      return model.tokens[static_cast<size_t>(id)];
    }
    fail(fmt::format("{}: merges[{}]", where, rank), fmt::format("token id {}", id), "a token of the vocab");
  };
  for (size_t rank = 0; rank < model.merges.size(); ++rank) {
    const BpeMerge& merge = model.merges[rank];
    const std::string& left = token(merge.left, rank);
    const std::string& right = token(merge.right, rank);
    const std::string& result = token(merge.result, rank);
    if (result.size() != left.size() + right.size() || !result.starts_with(left) ||
        !result.ends_with(right)) {
      fail(fmt::format("{}: merges[{}]", where, rank),
           fmt::format("'{}' for '{}' and '{}'", to_byte_alphabet(result), to_byte_alphabet(left),
                       to_byte_alphabet(right)),
           "the bytes of both together");
    }
    const uint64_t pair =
        static_cast<uint64_t>(merge.left) << 32 | static_cast<uint64_t>(static_cast<uint32_t>(merge.right));
    if (seen.insert(pair).second) continue;
    fail(fmt::format("{}: merges[{}]", where, rank),
         fmt::format("'{} {}' a second time", to_byte_alphabet(left), to_byte_alphabet(right)),
         "every pair once");
  }
}

void check_added(const BpeSpec& spec, const std::string& where) {
  std::unordered_map<int32_t, size_t> ids;
  std::unordered_set<std::string_view> contents;
  for (size_t i = 0; i < spec.added.size(); ++i) {
    const AddedToken& token = spec.added[i];
    const std::string place = fmt::format("{}: added_tokens[{}]", where, i);
    if (token.content.empty()) fail(place, "an empty content", "text to search for");
    if (!contents.insert(token.content).second) {
      fail(place, fmt::format("content '{}' a second time", token.content), "every content once");
    }
    if (const auto [other, fresh] = ids.emplace(token.id, i); !fresh) {
      fail(place, fmt::format("id {}, which added_tokens[{}] has", token.id, other->second),
           "an id of its own");
    }
  }
  std::unordered_set<int32_t> made;
  for (const BpeMerge& merge : spec.model.merges) made.insert(merge.result);
  for (size_t i = 0; i < spec.added.size(); ++i) {
    const AddedToken& token = spec.added[i];
    const auto at = static_cast<size_t>(token.id);
    const bool is_byte = at < spec.model.tokens.size() && spec.model.tokens[at].size() == 1;
    if (!token.special || (!is_byte && made.count(token.id) == 0)) continue;
    fail(fmt::format("{}: added_tokens[{}]", where, i),
         fmt::format("special token '{}', which ordinary text makes, too", token.content),
         "special tokens that neither a merge nor a byte is");
  }
  const int64_t size = bpe_vocab_size(spec);
  for (int64_t id = 0; id < size; ++id) {
    const size_t at = static_cast<size_t>(id);
    if (at < spec.model.tokens.size() && !spec.model.tokens[at].empty()) continue;
    if (ids.count(static_cast<int32_t>(id)) != 0) continue;
    fail(where + ": vocab", fmt::format("no token with id {} of {}", id, size), "ids without holes");
  }
}

}  // namespace

int64_t bpe_vocab_size(const BpeSpec& spec) {
  int64_t size = static_cast<int64_t>(spec.model.tokens.size());
  for (const AddedToken& token : spec.added) size = std::max<int64_t>(size, int64_t{token.id} + 1);
  return size;
}

void check_bpe(const BpeSpec& spec, const std::string& where) {
  // The bound keeps a hostile id from asking for memory; the largest vocabularies in use have 300 thousand.
  constexpr int64_t kLargest = int64_t{1} << 24;
  for (size_t i = 0; i < spec.added.size(); ++i) {
    if (spec.added[i].id >= 0 && spec.added[i].id < kLargest) continue;
    fail(fmt::format("{}: added_tokens[{}]", where, i), fmt::format("id {}", spec.added[i].id),
         fmt::format("0 to {}", kLargest - 1));
  }
  check_tokens(spec.model, where);
  check_merges(spec.model, where);
  check_added(spec, where);
  const int64_t size = bpe_vocab_size(spec);
  for (const auto* ids : {&spec.template_head, &spec.template_tail}) {
    for (const int32_t id : *ids) {
      if (id >= 0 && id < size) continue;
      fail(where + ": post_processor", fmt::format("token id {}", id), fmt::format("0 to {}", size - 1));
    }
  }
}

}  // namespace phalanx
