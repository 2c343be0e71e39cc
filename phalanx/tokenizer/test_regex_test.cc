#include "phalanx/tokenizer/test_regex.h"

#include <gtest/gtest.h>
#include <utf8proc.h>

#include <functional>

#include "phalanx/base/error.h"
#include "phalanx/tokenizer/unicode_newer.h"

namespace phalanx::test {

bool has_property(char32_t c, std::string_view name) {
  if (name == "s") {
    return (c >= 9 && c <= 13) || (c >= 0x2000 && c <= 0x200A) ||
           std::u32string_view(U"\x20\x85\xA0\u1680\u2028\u2029\u202F\u205F\u3000").find(c) !=
               std::u32string_view::npos;
  }
  std::string category = utf8proc_category_string(static_cast<utf8proc_int32_t>(c));
  if (category == "Cn") {
    // Which of Lu and Lt, Lm and Lo, Mn and Mc it is, no pattern asks.
    for (const NewerRange& range : kNewerRanges) {
      if (c < range.first || c > range.last) continue;
      constexpr std::array kNames{"Cn", "Zs", "Nd", "Lu", "Ll", "Lo", "Mn"};
      category = kNames[static_cast<size_t>(range.kind)];
    }
  }
  return name.size() == 1 ? category[0] == name[0] : category == name;
}

SlowRegex::SlowRegex(std::string_view pattern) : left_(pattern) {
  top_ = parse_alternatives(false);
  PHALANX_CHECK(left_.empty(), "a closing parenthesis too many");
}

bool SlowRegex::accept(std::string_view token) {
  if (!left_.starts_with(token)) return false;
  left_.remove_prefix(token.size());
  return true;
}

SlowRegex::Alternatives SlowRegex::parse_alternatives(bool any_case) {
  Alternatives all(1);
  while (!left_.empty() && left_[0] != ')') {
    if (accept("|")) {
      all.emplace_back();
    } else {
      all.back().push_back(parse_node(any_case));
    }
  }
  return all;
}

SlowRegex::Item SlowRegex::parse_item() {
  if (accept("\\p{")) {
    const size_t close = left_.find('}');
    const std::string name(left_.substr(0, close));
    left_.remove_prefix(close + 1);
    return {name, 0};
  }
  if (accept("\\s")) return {"s", 0};
  if (accept("\\r")) return {"", U'\r'};
  if (accept("\\n")) return {"", U'\n'};
  PHALANX_CHECK(left_[0] != '\\', "an escape that the patterns do not use");
  const auto c = static_cast<char32_t>(left_[0]);
  left_.remove_prefix(1);
  return {"", c};
}

SlowRegex::Node SlowRegex::parse_node(bool any_case) {
  Node node;
  node.any_case = any_case;
  if (accept("$")) {
    node.kind = Kind::kEnd;
    return node;
  }
  if (accept("(")) {
    const bool folds = accept("?i:");
    const bool not_ahead = !folds && accept("?!");
    PHALANX_CHECK(folds || not_ahead || accept("?:"), "a group that the patterns do not use");
    node.kind = not_ahead ? Kind::kNotAhead : Kind::kGroup;
    node.inside = parse_alternatives(folds || any_case);
    PHALANX_CHECK(accept(")"), "a group without an end");
  } else if (accept("\\S")) {
    node.negated = true;
    node.items = {{"s", 0}};
  } else if (accept("[")) {
    node.negated = accept("^");
    while (!accept("]")) node.items.push_back(parse_item());
  } else {
    node.items = {parse_item()};
  }
  parse_quantifier(node);
  return node;
}

void SlowRegex::parse_quantifier(Node& node) {
  constexpr size_t kMany = ~size_t{0};
  if (accept("?")) {
    node.least = 0;
  } else if (accept("*")) {
    node.least = 0;
    node.most = kMany;
  } else if (accept("+")) {
    node.most = kMany;
  } else if (accept("{1,3}")) {
    node.most = 3;
  } else {
    return;
  }
  node.possessive = accept("+");
}

struct SlowRegex::Matcher {
  using Rest = std::function<bool(size_t)>;
  std::u32string_view text;

  static bool in_set(const Node& node, char32_t c) {
    for (const Item& item : node.items) {
      const char32_t want = item.literal;
      const bool letter = (want | 32) >= U'a' && (want | 32) <= U'z';
      const bool folded = node.any_case && letter && ((c ^ 32) == want || (want == U's' && c == U'\u017F'));
      if (item.property.empty() ? c == want || folded : has_property(c, item.property)) return !node.negated;
    }
    return node.negated;
  }

  bool any(const Alternatives& alternatives, size_t at, const Rest& rest) const {
    for (const Sequence& sequence : alternatives) {
      if (from(sequence, 0, at, rest)) return true;
    }
    return false;
  }

  bool from(const Sequence& sequence, size_t index, size_t at, const Rest& rest) const {
    if (index == sequence.size()) return rest(at);
    const Node& node = sequence[index];
    const Rest next = [&](size_t end) { return from(sequence, index + 1, end, rest); };
    switch (node.kind) {
      case Kind::kEnd:
        return at == text.size() && next(at);
      case Kind::kNotAhead:
        return !any(node.inside, at, [](size_t) { return true; }) && next(at);
      case Kind::kGroup:
        return any(node.inside, at, next) || (node.least == 0 && next(at));
      case Kind::kSet:
        break;
    }
    size_t count = 0;
    while (count < node.most && at + count < text.size() && in_set(node, text[at + count])) ++count;
    for (size_t n = count + 1; n-- > node.least;) {
      if (next(at + n)) return true;
      if (node.possessive) return false;
    }
    return false;
  }
};

std::optional<size_t> SlowRegex::match(std::u32string_view text, size_t at) const {
  std::optional<size_t> end;
  Matcher{text}.any(top_, at, [&](size_t e) {
    end = e;
    return true;
  });
  return end;
}

namespace {

std::optional<size_t> end_of(std::string_view pattern, std::u32string_view text) {
  return SlowRegex(pattern).match(text, 0);
}

TEST(TestRegex, TakesTheFirstAlternativeThatFits) {
  EXPECT_EQ(end_of("a|ab", U"ab"), 1);
  EXPECT_EQ(end_of("(?:a|ab)c", U"abc"), 3);
  EXPECT_EQ(end_of("b", U"ab"), std::nullopt);
}

TEST(TestRegex, GivesBackUnlessPossessive) {
  EXPECT_EQ(end_of("a+a", U"aaa"), 3);
  EXPECT_EQ(end_of("a++a", U"aaa"), std::nullopt);
  EXPECT_EQ(end_of("a?+a", U"a"), std::nullopt);
  EXPECT_EQ(end_of("a{1,3}", U"aaaaa"), 3);
}

TEST(TestRegex, LooksAheadAndFolds) {
  EXPECT_EQ(end_of("\\s+(?!\\S)", U"   x"), 2);
  EXPECT_EQ(end_of("\\s++$", U"  x"), std::nullopt);
  EXPECT_EQ(end_of("(?i:'s)", U"'\u017F"), 2);
  EXPECT_EQ(end_of("'s", U"'S"), std::nullopt);
  EXPECT_EQ(end_of("[^\\p{L}\\r]+", U"1.\u0301a"), 3);
}

}  // namespace
}  // namespace phalanx::test
