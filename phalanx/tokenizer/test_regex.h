// File: phalanx/tokenizer/test_regex.h
//
// Purpose: for tests: a small backtracking regex matcher over code points, which reads the patterns' own text.
// Contract: alternation, groups (?:) and (?i:), (?!), sets, \p{X}, \s, \S, $, and the quantifiers ? * + {m,n} and their
//   possessive forms, of sets; of groups only ?. Slow: time and stack grow with the match.
// Source: classes from utf8proc and unicode_newer.h, not from the table under test.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace phalanx::test {

// L, N, M, Lu, Ll, Lt, Lm, Lo, or "s" for White_Space.
bool has_property(char32_t c, std::string_view name);

class SlowRegex {
 public:
  explicit SlowRegex(std::string_view pattern);

  // Where the match that begins at `at` ends.
  std::optional<size_t> match(std::u32string_view text, size_t at) const;

 private:
  struct Node;
  struct Matcher;
  using Sequence = std::vector<Node>;
  using Alternatives = std::vector<Sequence>;
  struct Item {
    std::string property;  // or, when empty, the character
    char32_t literal = 0;
  };
  enum class Kind { kSet, kGroup, kNotAhead, kEnd };
  struct Node {
    Kind kind = Kind::kSet;
    std::vector<Item> items;
    Alternatives inside;
    bool negated = false;
    bool any_case = false;
    bool possessive = false;
    size_t least = 1;
    size_t most = 1;
  };

  Alternatives parse_alternatives(bool any_case);
  Node parse_node(bool any_case);
  Item parse_item();
  void parse_quantifier(Node& node);
  bool accept(std::string_view token);

  std::string_view left_;  // of the pattern, while parsing
  Alternatives top_;
};

}  // namespace phalanx::test
