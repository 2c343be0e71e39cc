#include "phalanx/arch/pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "phalanx/arch/test_errors.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string flat(std::string_view text) {
  return expand(parse_pattern(text));
}

TEST(Pattern, OneCharacterIsOneLayer) {
  const Pattern pattern = parse_pattern("*-MmEX");
  EXPECT_THAT(pattern.layers,
              ElementsAre(LayerKind::kAttention, LayerKind::kMlp, LayerKind::kMamba2, LayerKind::kMamba1,
                          LayerKind::kExperts, LayerKind::kCrossAttention));
  EXPECT_THAT(pattern.stage_begin, ElementsAre(0));
  EXPECT_EQ(pattern.stage_end(0), 6u);
}

TEST(Pattern, GroupsRepeatAndNest) {
  EXPECT_EQ(flat("(*-)x3"), "*-*-*-");
  EXPECT_EQ(flat("M(*-)x2M"), "M*-*-M");
  EXPECT_EQ(flat("((*-)x2M)x2"), "*-*-M*-*-M");
  EXPECT_EQ(flat("(*)x1"), "*");
  EXPECT_EQ(parse_pattern("(*-)x12").layers.size(), 24u);
}

TEST(Pattern, BarsEndStagesAndStagesMayBeEmpty) {
  const Pattern pattern = parse_pattern("*-|*-*-||-");
  EXPECT_THAT(pattern.stage_begin, ElementsAre(0, 2, 6, 6));
  EXPECT_EQ(pattern.stage_end(1), 6u);
  EXPECT_EQ(pattern.stage_end(2), 6u);
  EXPECT_EQ(pattern.stage_end(3), 7u);
  EXPECT_EQ(flat("(*-|)x2*-"), "*-|*-|*-");
  EXPECT_THAT(parse_pattern("|*-|").stage_begin, ElementsAre(0, 0, 2));
}

// The 8B hybrid of Waleffe et al. 2024: 56 layers, 24 Mamba-2, 4 attention, 28 MLP.
TEST(Pattern, ReadsThePublishedHybrid) {
  const Pattern pattern = parse_pattern("M-M-M--M-M*-M-M-M-M--M*-M-M-M-M-M*--M-M-M-M-M*-M--M-M-M-");
  EXPECT_EQ(pattern.layers.size(), 56u);
  EXPECT_EQ(std::count(pattern.layers.begin(), pattern.layers.end(), LayerKind::kMamba2), 24);
  EXPECT_EQ(std::count(pattern.layers.begin(), pattern.layers.end(), LayerKind::kAttention), 4);
  EXPECT_EQ(std::count(pattern.layers.begin(), pattern.layers.end(), LayerKind::kMlp), 28);
  EXPECT_EQ(count_pairs(pattern), 4);
  EXPECT_FALSE(is_transformer(pattern));
}

TEST(Pattern, CountsPairs) {
  EXPECT_EQ(count_pairs(parse_pattern("(*-)x12")), 12);
  EXPECT_EQ(count_pairs(parse_pattern("**-")), 1);
  EXPECT_EQ(count_pairs(parse_pattern("*|-")), 1);
  EXPECT_EQ(count_pairs(parse_pattern("-*")), 0);
  EXPECT_TRUE(is_transformer(parse_pattern("(*-)x2|*-")));
  EXPECT_FALSE(is_transformer(parse_pattern("*--")));
  EXPECT_FALSE(is_transformer(parse_pattern("-*")));
}

TEST(Pattern, PrintsTheShortForm) {
  EXPECT_EQ(to_string(parse_pattern("*-*-*-*-*-*-")), "(*-)x6");
  EXPECT_EQ(to_string(parse_pattern("(*-)x6|(*-)x6")), "(*-)x6|(*-)x6");
  EXPECT_EQ(to_string(parse_pattern("(*)x9")), "(*)x9");
  EXPECT_EQ(to_string(parse_pattern("*-*-")), "*-*-");  // a group would be longer
  EXPECT_EQ(to_string(parse_pattern("(M-M-M-*-)x3")), "(M-M-M-*-)x3");
}

TEST(Pattern, MistakesAreMarked) {
  EXPECT_EQ(message_of([] { parse_pattern("(*?-)x12"); }),
            "model.pattern: got '?' at character 3; needed one of * - M m E X, |, or a group (..)xN. "
            "Fix: correct the marked place\n    (*?-)x12\n      ^");
  // Megatron's other kinds: gated delta net, sparse and latent attention, multi-token prediction.
  EXPECT_THAT(message_of([] { parse_pattern("M-M-GM"); }), HasSubstr("got 'G' at character 5;"));
  EXPECT_THAT(message_of([] { parse_pattern("M+"); }), HasSubstr("\n    M+\n     ^"));
  EXPECT_THAT(message_of([] { parse_pattern("M*-/M*-"); }), HasSubstr("got '/' at character 4;"));
  EXPECT_THAT(message_of([] { parse_pattern("*- *-", "--pattern"); }),
              HasSubstr("--pattern: got a space at character 3;"));
  EXPECT_THAT(message_of([] { parse_pattern("*-\n"); }), HasSubstr("got white space at character 3;"));
  EXPECT_THAT(message_of([] { parse_pattern("*\xc3\xa9"); }), HasSubstr("got byte 0xc3 at character 2;"));
  EXPECT_THAT(message_of([] { parse_pattern("*x3"); }),
              HasSubstr("got 'x' at character 2; needed a repeat count behind"));
  EXPECT_THAT(message_of([] { parse_pattern("*-)x3"); }),
              HasSubstr("got ')' without a '(' before it at character 3"));
  EXPECT_THAT(message_of([] { parse_pattern("*(*-"); }),
              HasSubstr("got '(' that is never closed at character 2"));
  EXPECT_THAT(message_of([] { parse_pattern("()x3"); }), HasSubstr("got an empty group at character 1"));
  EXPECT_THAT(message_of([] { parse_pattern("(*-)"); }), HasSubstr("got no repeat count at character 5"));
  EXPECT_THAT(message_of([] { parse_pattern("(*-)*12"); }), HasSubstr("got no repeat count at character 5"));
  EXPECT_THAT(message_of([] { parse_pattern("(*-)x"); }),
              HasSubstr("got 'x' without a number at character 5"));
  EXPECT_THAT(message_of([] { parse_pattern("(*-)x0"); }),
              HasSubstr("got a repeat count of 0 at character 6; needed 1 to 65536"));
  EXPECT_THAT(message_of([] { parse_pattern(""); }), HasSubstr("got no layer"));
  EXPECT_THAT(message_of([] { parse_pattern("||"); }),
              HasSubstr("needed at least one layer, such as (*-)x12"));
}

TEST(Pattern, LongTextIsShownAroundTheMark) {
  const std::string text = std::string(100, '*') + "?" + std::string(100, '-');
  const std::string message = message_of([&] { parse_pattern(text); });
  EXPECT_THAT(message, HasSubstr("at character 101;"));
  EXPECT_THAT(message, HasSubstr("\n    ..." + std::string(30, '*') + "?" + std::string(29, '-') +
                                 "...\n    " + std::string(33, ' ') + "^"));
}

TEST(Pattern, HostileTextIsBounded) {
  EXPECT_EQ(parse_pattern("(*)x65536").layers.size(), 65536u);
  EXPECT_THAT(message_of([] { parse_pattern("(*)x65536*"); }),
              HasSubstr("more than 65536 layers and stage boundaries"));
  EXPECT_THAT(message_of([] { parse_pattern("(((*)x60000)x60000)x60000"); }),
              HasSubstr("more than 65536 layers"));
  EXPECT_THAT(message_of([] { parse_pattern("*(|)x65536"); }), HasSubstr("more than 65536 layers"));
  EXPECT_THAT(message_of([] { parse_pattern("(*)x99999999999999999999999999"); }),
              HasSubstr("a repeat count of 99999999999999999999 at"));
  EXPECT_THAT(message_of([] { parse_pattern(std::string(100000, '(')); }),
              HasSubstr("more than 16 groups inside each other"));
  std::string deepest = "*";
  for (int i = 0; i < kMaxPatternDepth; ++i) deepest = "(" + deepest + ")x1";
  EXPECT_EQ(flat(deepest), "*");
  EXPECT_THROW(parse_pattern("(" + deepest + ")x1"), Error);
}

TEST(Pattern, CountsKinds) {
  const Pattern pattern = parse_pattern("M-M*|-MmX");
  EXPECT_EQ(count_of(pattern, LayerKind::kMamba2), 3);
  EXPECT_EQ(count_of(pattern, LayerKind::kMlp), 2);
  EXPECT_EQ(count_of(pattern, LayerKind::kExperts), 0);
  EXPECT_TRUE(has_mamba(pattern));
  EXPECT_TRUE(has_mamba(parse_pattern("*-m")));
  EXPECT_FALSE(has_mamba(parse_pattern("*-EX")));
}

TEST(Pattern, KindsHaveNamesAndFourAreBuilt) {
  EXPECT_EQ(layer_kind_name(LayerKind::kMamba2), "Mamba-2");
  EXPECT_EQ(layer_kind_name(LayerKind::kCrossAttention), "gated cross-attention");
  for (const char kind : std::string_view("*-Mm"))
    EXPECT_TRUE(is_buildable(static_cast<LayerKind>(kind))) << kind;
  for (const char kind : std::string_view("EX"))
    EXPECT_FALSE(is_buildable(static_cast<LayerKind>(kind))) << kind;
}

// Any text gives a pattern or an Error; a pattern survives printing in both forms.
TEST(PatternFuzz, AnyTextIsAPatternOrAnError) {
  std::mt19937 random(7);
  const std::string alphabet = "*-MmEX||(())x0123456789 ?\xff";
  int parsed = 0;
  int refused = 0;
  for (int round = 0; round < 200000; ++round) {
    std::string text;
    const size_t length = random() % 24;
    for (size_t i = 0; i < length; ++i) text += alphabet[random() % alphabet.size()];
    try {
      const Pattern pattern = parse_pattern(text);
      ASSERT_FALSE(pattern.layers.empty()) << text;
      ASSERT_LE(pattern.layers.size() + pattern.num_stages(), kMaxPatternLength + 1) << text;
      ASSERT_EQ(parse_pattern(expand(pattern)), pattern) << text;
      ASSERT_EQ(parse_pattern(to_string(pattern)), pattern) << text;
      ++parsed;
    } catch (const Error& error) {
      ASSERT_EQ(error.kind(), ErrorKind::kBadInput);
      ASSERT_LT(std::string(error.what()).size(), 400u) << text;
      ++refused;
    }
  }
  EXPECT_GT(parsed, 500);
  EXPECT_GT(refused, 1000);
}

// Legal patterns of all shapes: printing is a round trip.
TEST(PatternFuzz, PrintingIsARoundTrip) {
  std::mt19937 random(11);
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    const size_t length = 1 + random() % 40;
    const size_t variety = 1 + random() % 7;  // few kinds: many repeats
    while (text.size() < length) {
      const std::string unit(1 + random() % 3, "*-|MmEX"[random() % variety]);
      text += random() % 2 == 0 ? unit : "(" + unit + "*)x" + std::to_string(1 + random() % 30);
    }
    text += "-";
    const Pattern pattern = parse_pattern(text);
    ASSERT_EQ(parse_pattern(to_string(pattern)), pattern) << text;
    ASSERT_LE(to_string(pattern).size(), expand(pattern).size()) << text;
  }
}

}  // namespace
}  // namespace phalanx
