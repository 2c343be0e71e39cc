#include "phalanx/tokenizer/tiktoken_file.h"

#include <array>
#include <charconv>
#include <limits>
#include <unordered_map>

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/base/json.h"

namespace phalanx {
namespace {

constexpr size_t kLongestToken =
    1024;  // finding a token's merge costs the square of it; those in use have 128
constexpr std::array<std::string_view, 7> kMegatronSpecial = {"<unk>", "<s>",   "</s>", "<mask>",
                                                              "<pad>", "<cls>", "<sep>"};

[[noreturn]] void fail(const std::string& where, const std::string& got, const std::string& needed) {
  throw Error(ErrorKind::kBadInput,
              {.where = where,
               .got = got.substr(0, 200),
               .needed = needed,
               .fix = "give a .tiktoken file (base64 token, space, rank), or Megatron's JSON list of them"});
}

int base64_digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

std::string decode_base64(std::string_view text, const std::string& where) {
  std::string_view digits = text;
  while (digits.ends_with('=') && text.size() - digits.size() < 2) digits.remove_suffix(1);
  std::string bytes;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : digits) {
    const int digit = base64_digit(c);
    if (digit < 0) fail(where, fmt::format("'{}'", text), "base64");
    bits = bits << 6 | static_cast<uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes += static_cast<char>(bits >> count & 0xFF);
  }
  if (text.size() % 4 != 0 || bytes.empty())
    fail(where, fmt::format("'{}'", text), "base64 of at least one byte");
  if (bytes.size() > kLongestToken) {
    fail(where, fmt::format("a token of {} bytes", bytes.size()), fmt::format("at most {}", kLongestToken));
  }
  return bytes;
}

void put(TiktokenRanks& ranks, uint64_t rank, std::string token, size_t most, const std::string& where) {
  if (rank >= most)
    fail(where, fmt::format("rank {}", rank), fmt::format("less than {}, without holes", most));
  if (ranks.tokens.size() <= rank) ranks.tokens.resize(rank + 1);
  if (!ranks.tokens[rank].empty()) fail(where, fmt::format("rank {} a second time", rank), "every rank once");
  ranks.tokens[rank] = std::move(token);
}

TiktokenRanks read_lines(const std::string& text, const std::string& path) {
  TiktokenRanks ranks;
  const size_t most = text.size() / 6 + 1;  // the shortest line is "QQ== 0"
  size_t number = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = std::string_view(text).substr(at, end - at);
    at = end + 1;
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    const std::string where = fmt::format("{}: line {}", path, number);
    const size_t space = std::min(line.find(' '), line.size());
    const std::string_view rank_text = line.substr(std::min(space + 1, line.size()));
    uint64_t rank = 0;
    const auto [stop, error] = std::from_chars(rank_text.data(), rank_text.data() + rank_text.size(), rank);
    if (rank_text.empty() || error != std::errc{} || stop != rank_text.data() + rank_text.size()) {
      fail(where, fmt::format("'{}'", line), "base64 token, space, rank");
    }
    put(ranks, rank, decode_base64(line.substr(0, space), where), most, where);
  }
  return ranks;
}

TiktokenRanks read_list(const std::string& text, const std::string& path) {
  TiktokenRanks ranks;
  ranks.megatron_json = true;
  const Json list = parse_json(text, path);
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string where = fmt::format("{}: [{}]", path, i);
    if (!list[i].is_object()) fail(where, list[i].dump(), "an object");
    const uint64_t rank = json_get<uint64_t>(list[i], "rank", where);
    put(ranks, rank, decode_base64(json_get<std::string>(list[i], "token_bytes", where), where), list.size(),
        where);
  }
  return ranks;
}

// tiktoken's merging, for one token at a time.
class RankMerger {
 public:
  RankMerger(const std::vector<std::string>& tokens, const std::string& where) {
    ranks_.reserve(tokens.size());
    for (size_t rank = 0; rank < tokens.size(); ++rank) {
      if (tokens[rank].empty()) fail(where, fmt::format("no token of rank {}", rank), "ranks without holes");
      const auto [other, fresh] = ranks_.emplace(tokens[rank], static_cast<uint32_t>(rank));
      if (!fresh)
        fail(where, fmt::format("ranks {} and {} for one token", other->second, rank), "every token once");
    }
  }

  // The two ranks whose merge completes the token; false where merging its bytes does not lead there.
  bool last_merge(std::string_view token, uint32_t* left, uint32_t* right) {
    begins_.clear();
    for (uint32_t i = 0; i <= token.size(); ++i) begins_.push_back(i);
    while (begins_.size() > 3) {
      size_t best = 0;
      uint32_t best_rank = kNone;
      for (size_t i = 0; i + 2 < begins_.size(); ++i) {
        const uint32_t rank = rank_of(token, begins_[i], begins_[i + 2]);
        if (rank >= best_rank) continue;
        best = i;
        best_rank = rank;
      }
      if (best_rank == kNone) return false;
      begins_.erase(begins_.begin() + static_cast<ptrdiff_t>(best) + 1);
    }
    *left = rank_of(token, begins_[0], begins_[1]);
    *right = rank_of(token, begins_[1], begins_[2]);
    return *left != kNone && *right != kNone;
  }

 private:
  static constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

  uint32_t rank_of(std::string_view token, uint32_t begin, uint32_t end) const {
    const auto found = ranks_.find(token.substr(begin, end - begin));
    return found == ranks_.end() ? kNone : found->second;
  }

  std::unordered_map<std::string_view, uint32_t> ranks_;
  std::vector<uint32_t> begins_;
};

}  // namespace

TiktokenRanks read_tiktoken_ranks(const std::string& path) {
  const std::string text = read_file(path);
  TiktokenRanks ranks = text.starts_with('[') ? read_list(text, path) : read_lines(text, path);
  if (ranks.tokens.empty()) fail(path, "no tokens", "at least the 256 bytes");
  return ranks;
}

std::vector<std::string> megatron_special_tokens(int64_t count) {
  std::vector<std::string> tokens(kMegatronSpecial.begin(), kMegatronSpecial.end());
  for (int64_t i = static_cast<int64_t>(tokens.size()); i < count; ++i)
    tokens.push_back(fmt::format("<SPECIAL_{}>", i));
  return tokens;
}

BpeSpec tiktoken_spec(const TiktokenRanks& ranks, SplitPattern pattern,
                      const std::vector<std::string>& special, const std::string& where) {
  BpeSpec spec;
  spec.splits = {pattern};
  spec.model.ignore_merges = true;
  spec.model.tokens.resize(special.size());
  for (size_t i = 0; i < special.size(); ++i) {
    spec.added.push_back({.id = static_cast<int32_t>(i), .content = special[i], .special = true});
  }
  const auto offset = static_cast<uint32_t>(special.size());
  RankMerger merger(ranks.tokens, where);
  for (uint32_t rank = 0; rank < ranks.tokens.size(); ++rank) {
    const std::string& token = ranks.tokens[rank];
    spec.model.tokens.push_back(token);
    uint32_t left = 0;
    uint32_t right = 0;
    if (token.size() < 2 || !merger.last_merge(token, &left, &right)) continue;
    spec.model.merges.push_back({.left = static_cast<int32_t>(left + offset),
                                 .right = static_cast<int32_t>(right + offset),
                                 .result = static_cast<int32_t>(rank + offset)});
  }
  check_bpe(spec, where);
  return spec;
}

}  // namespace phalanx
