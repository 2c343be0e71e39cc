#include "phalanx/tokenizer/added_tokens.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "phalanx/base/error.h"
#include "phalanx/tokenizer/unicode_class.h"
#include "phalanx/tokenizer/utf8.h"

namespace phalanx {
namespace {

// \w of Rust's regex: letters, marks, decimal and letter numbers, connectors, joiners, and the enclosed letters, which
// are symbols by category.
bool is_word(char32_t c) {
  const UnicodeClass kind = unicode_class(c);
  if (is_letter(kind) || kind == UnicodeClass::kMark) return true;
  const utf8proc_category_t category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  if (kind == UnicodeClass::kNumber) return category != UTF8PROC_CATEGORY_NO;
  if (category == UTF8PROC_CATEGORY_PC || c == 0x200C || c == 0x200D) return true;
  return (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) ||
         (c >= 0x1F170 && c <= 0x1F189);
}

bool is_space(char32_t c) {
  return unicode_class(c) == UnicodeClass::kSpace;
}

size_t space_begin(std::string_view text, size_t at, size_t floor) {
  while (at > floor) {
    const Utf8Char before = utf8_char_before(text, at);
    if (!is_space(before.c)) break;
    at -= before.size;
  }
  return at;
}

size_t space_end(std::string_view text, size_t at) {
  while (at < text.size()) {
    const Utf8Char next = utf8_char_at(text, at);
    if (!is_space(next.c)) break;
    at += next.size;
  }
  return at;
}

}  // namespace

AddedTokenFinder::AddedTokenFinder(std::vector<AddedToken> tokens, std::vector<std::string> contents) {
  PHALANX_CHECK(tokens.size() == contents.size(), "one content a token");
  std::vector<size_t> order(tokens.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return contents[a] < contents[b]; });
  for (const size_t i : order) {
    if (contents[i].empty() || (!contents_.empty() && contents_.back() == contents[i])) continue;
    const auto first = static_cast<uint8_t>(contents[i][0]);
    num_starts_ += starts_[first] ? 0 : 1;
    starts_[first] = true;
    only_start_ = contents[i][0];
    all_special_ = all_special_ && tokens[i].special;
    tokens_.push_back(std::move(tokens[i]));
    contents_.push_back(std::move(contents[i]));
  }
}

size_t AddedTokenFinder::next_candidate(std::string_view text, size_t at) const {
  if (num_starts_ == 1) return std::min(text.find(only_start_, at), text.size());
  while (at < text.size() && !starts_[static_cast<uint8_t>(text[at])]) ++at;
  return at;
}

// Narrows the sorted contents to those that agree with the text, byte by byte.
const AddedToken* AddedTokenFinder::longest_at(std::string_view text, size_t at, size_t* end) const {
  const AddedToken* longest = nullptr;
  size_t low = 0;
  size_t high = contents_.size();
  for (size_t depth = 0; at + depth < text.size(); ++depth) {
    const auto byte = static_cast<uint8_t>(text[at + depth]);
    const auto byte_of = [&](size_t i) {
      return contents_[i].size() > depth ? int{static_cast<uint8_t>(contents_[i][depth])} : -1;
    };
    size_t first = low;
    for (size_t count = high - low; count > 0;) {
      const size_t half = count / 2;
      if (byte_of(first + half) < byte) {
        first += half + 1;
        count -= half + 1;
      } else {
        count = half;
      }
    }
    size_t last = first;
    for (size_t count = high - first; count > 0;) {
      const size_t half = count / 2;
      if (byte_of(last + half) <= byte) {
        last += half + 1;
        count -= half + 1;
      } else {
        count = half;
      }
    }
    low = first;
    high = last;
    if (low == high) break;
    if (contents_[low].size() == depth + 1) {
      longest = &tokens_[low];
      *end = at + depth + 1;
    }
  }
  return longest;
}

bool AddedTokenFinder::accepts(std::string_view text, const Match& match, bool special) const {
  if (match.token->special && !special) return false;
  if (!match.token->single_word) return true;
  if (match.begin > 0 && is_word(utf8_char_before(text, match.begin).c)) return false;
  return match.end == text.size() || !is_word(utf8_char_at(text, match.end).c);
}

void AddedTokenFinder::split(std::string_view text, bool special, std::vector<Part>& parts) const {
  size_t done = 0;
  const bool nothing_to_find = tokens_.empty() || (all_special_ && !special);
  for (size_t at = 0; !nothing_to_find && (at = next_candidate(text, at)) < text.size();) {
    Match match{at, at, nullptr};
    match.token = longest_at(text, at, &match.end);
    if (match.token == nullptr) {
      ++at;
      continue;
    }
    at = match.end;
    if (!accepts(text, match, special)) continue;
    if (match.token->lstrip) match.begin = space_begin(text, match.begin, done);
    if (match.token->rstrip) match.end = space_end(text, match.end);
    if (match.begin > done) parts.push_back({kText, text.substr(done, match.begin - done)});
    parts.push_back({match.token->id, text.substr(match.begin, match.end - match.begin)});
    done = match.end;
  }
  if (done < text.size()) parts.push_back({kText, text.substr(done)});
}

}  // namespace phalanx
