#include "phalanx/arch/hf_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "phalanx/arch/test_errors.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(HfJson, NumbersThatJsonLacks) {
  const Json json = parse_hf_json(
      R"({"a": [0.0, Infinity], "b": -Infinity, "c": NaN, "d": {"__float__": "Infinity"}})", "f");
  EXPECT_EQ(json_number(json["a"][0]), 0.0);
  EXPECT_EQ(json_number(json["a"][1]), kInfinity);
  EXPECT_EQ(json_number(json["b"]), -kInfinity);
  EXPECT_TRUE(std::isnan(*json_number(json["c"])));
  EXPECT_EQ(json_number(json["d"]), kInfinity);
}

TEST(HfJson, TextsKeepTheWords) {
  const Json json = parse_hf_json(R"({"Infinity": "NaN \" Infinity", "x\\": -Infinity})", "f");
  EXPECT_EQ(json["Infinity"], "NaN \" Infinity");
  EXPECT_EQ(json_number(json["x\\"]), -kInfinity);
}

TEST(HfJson, OtherThingsAreNoNumbers) {
  for (const char* text : {"\"Infinity\"", "true", "null", "[1]", "{}", R"({"__float__": "inf"})",
                           R"({"__float__": 1})", R"({"__float__": "NaN", "x": 1})"}) {
    EXPECT_FALSE(json_number(parse_hf_json(text, "f")).has_value()) << text;
  }
}

TEST(HfJson, BrokenTextIsRefusedByName) {
  for (const char* text :
       {"", "{", "Infinity Infinity", "{\"a\": Inf}", "\"\\", "[1, -NaN]", "{Infinity: 1}"}) {
    EXPECT_THAT(message_of([&] { parse_hf_json(text, "config.json"); }), HasSubstr("config.json: got"))
        << text;
  }
}

TEST(HfJson, WrittenNumbersComeBack) {
  for (const double value : {0.0, 0.3, kInfinity, -kInfinity}) {
    EXPECT_EQ(json_number(parse_hf_json(hf_json_of(value).dump(), "f")), value);
  }
  EXPECT_EQ(hf_json_of(kInfinity).dump(), R"({"__float__":"Infinity"})");
  EXPECT_EQ(hf_json_of(std::nan("")).dump(), R"({"__float__":"NaN"})");
}

}  // namespace
}  // namespace phalanx
