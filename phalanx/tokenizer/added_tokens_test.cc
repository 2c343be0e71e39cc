#include "phalanx/tokenizer/added_tokens.h"

#include <gtest/gtest.h>

namespace phalanx {
namespace {

using Parts = std::vector<std::pair<int32_t, std::string>>;

AddedTokenFinder make_finder(const std::vector<AddedToken>& tokens) {
  std::vector<std::string> contents;
  for (const AddedToken& token : tokens) contents.push_back(token.content);
  return AddedTokenFinder(tokens, contents);
}

Parts split(const AddedTokenFinder& finder, std::string_view text, bool special = true) {
  std::vector<AddedTokenFinder::Part> parts;
  finder.split(text, special, parts);
  Parts out;
  for (const auto& part : parts) out.emplace_back(part.id, part.text);
  return out;
}

TEST(AddedTokenFinder, LeftmostThenLongest) {
  const AddedTokenFinder f = make_finder({{1, "ab"}, {2, "abcd"}, {3, "bcde"}, {4, "c"}});
  EXPECT_EQ(split(f, "xabcdex"), (Parts{{-1, "x"}, {2, "abcd"}, {-1, "ex"}}));
  EXPECT_EQ(split(f, "abcx"), (Parts{{1, "ab"}, {4, "c"}, {-1, "x"}}));
  EXPECT_EQ(split(f, "bcde"), (Parts{{3, "bcde"}}));
  EXPECT_EQ(split(f, "ab"), (Parts{{1, "ab"}}));
  EXPECT_EQ(split(f, "a"), (Parts{{-1, "a"}}));
  EXPECT_EQ(split(f, ""), Parts{});
  EXPECT_EQ(split(AddedTokenFinder(), "ab"), (Parts{{-1, "ab"}}));
}

// A refused match hides what begins inside it, as in Hugging Face tokenizers.
TEST(AddedTokenFinder, SpecialTokensOnlyWhereAsked) {
  const AddedTokenFinder f = make_finder({{.id = 1, .content = "<|x|>", .special = true}, {2, "x"}});
  EXPECT_EQ(split(f, "a<|x|>x", true), (Parts{{-1, "a"}, {1, "<|x|>"}, {2, "x"}}));
  EXPECT_EQ(split(f, "a<|x|>x", false), (Parts{{-1, "a<|x|>"}, {2, "x"}}));
}

TEST(AddedTokenFinder, SingleWord) {
  const AddedTokenFinder f = make_finder({{.id = 1, .content = "cat", .single_word = true}});
  EXPECT_EQ(split(f, "cat"), (Parts{{1, "cat"}}));
  EXPECT_EQ(split(f, "a cat."), (Parts{{-1, "a "}, {1, "cat"}, {-1, "."}}));
  const std::vector<std::string> inside = {"cats",      "xcat",      "_cat",      "cat1",
                                           "\u00e9cat", "cat\u0301", "cat\u203f", "cat\u200d",
                                           "\u24b6cat", "cat\u216b", "cat\u0663", "\U0001f130cat"};
  for (const std::string& text : inside) EXPECT_EQ(split(f, text), (Parts{{-1, text}})) << text;
  const std::vector<std::string> apart = {"-", "\u00bd", "\u3000", "\U0001f600",
                                          "\u2014"};  // ½ is no word character
  for (const std::string& text : apart) {
    EXPECT_EQ(split(f, text + "cat" + text), (Parts{{-1, text}, {1, "cat"}, {-1, text}})) << text;
  }
}

TEST(AddedTokenFinder, StripsWhitespaceOfEveryKind) {
  const AddedTokenFinder f =
      make_finder({{.id = 1, .content = "<l>", .lstrip = true}, {.id = 2, .content = "<r>", .rstrip = true}});
  EXPECT_EQ(split(f, "a \u3000\n<l> b"), (Parts{{-1, "a"}, {1, " \u3000\n<l>"}, {-1, " b"}}));
  EXPECT_EQ(split(f, "a <r>\u00a0\tb"), (Parts{{-1, "a "}, {2, "<r>\u00a0\t"}, {-1, "b"}}));
  EXPECT_EQ(split(f, "<r>  <l>"), (Parts{{2, "<r>  "}, {1, "<l>"}}));
  EXPECT_EQ(split(f, "  <l>"), (Parts{{1, "  <l>"}}));
}

}  // namespace
}  // namespace phalanx
