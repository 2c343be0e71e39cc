#include "phalanx/config/field_ref.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "phalanx/config/test_sections.h"

namespace phalanx {
namespace {

using config_testing::error_text;
using config_testing::EveryKind;
using config_testing::Kind;

FieldRef& field(std::vector<FieldRef>& fields, const std::string& name) {
  for (FieldRef& f : fields) {
    if (f.name() == name) return f;
  }
  throw std::runtime_error("no field " + name);
}

const ValueSource kFlag{.where = "--every.x", .kind = ErrorKind::kUsage};

TEST(FieldRef, CollectsNamesHelpTypesAndDefaults) {
  EveryKind section;
  section.count = 99;  // defaults are those of the struct, not of this object
  const std::vector<FieldRef> fields = collect_fields(section);
  const std::vector<std::vector<std::string>> expected = {
      {"truth", "a truth value", "true or false", "true", "true"},
      {"count", "number of things", "an integer", "7", "99"},
      {"rate", "things a second", "a number", "1e-05", "1e-05"},
      {"label", "name of the thing", "a text", "a b", "a b"},
      {"sizes", "sizes in bytes", "a list of integers", "1,2", "1,2"},
      {"weights", "relative weights", "a list of numbers", "", ""},
      {"paths", "files to read", "a list of texts, none of them empty", "", ""},
      {"limit", "largest thing", "an integer or none", "none", "none"},
      {"scale", "scale of things", "a number or none", "0.5", "0.5"},
      {"kind", "which thing", "one of: plain, fancy, rms_norm", "plain", "plain"},
  };
  ASSERT_EQ(fields.size(), expected.size());
  for (size_t i = 0; i < fields.size(); ++i) {
    const FieldRef& f = fields[i];
    EXPECT_EQ((std::vector<std::string>{f.name(), f.help(), f.type_name(), f.default_text(), f.text()}),
              expected[i]);
    EXPECT_EQ(f.is_default(), f.name() != "count");
  }
  EXPECT_EQ(fields[9].enum_names(), (std::vector<std::string_view>{"plain", "fancy", "rms_norm"}));
  EXPECT_TRUE(fields[0].enum_names().empty());
}

TEST(FieldRef, SetsEveryTypeFromText) {
  EveryKind section;
  auto fields = collect_fields(section);
  field(fields, "truth").set_text("false", kFlag);
  field(fields, "count").set_text(" +12 ", kFlag);
  field(fields, "rate").set_text(".25", kFlag);
  field(fields, "label").set_text("x, y = \"z\"", kFlag);
  field(fields, "sizes").set_text("3, 4,5", kFlag);
  field(fields, "weights").set_text("1,2.5", kFlag);
  field(fields, "paths").set_text("a b,c\\,d,e\\\\f", kFlag);
  field(fields, "limit").set_text("5", kFlag);
  field(fields, "scale").set_text("none", kFlag);
  field(fields, "kind").set_text("rms_norm", kFlag);
  EXPECT_FALSE(section.truth);
  EXPECT_EQ(section.count, 12);
  EXPECT_EQ(section.rate, 0.25);
  EXPECT_EQ(section.label, "x, y = \"z\"");
  EXPECT_EQ(section.sizes, (std::vector<int64_t>{3, 4, 5}));
  EXPECT_EQ(section.weights, (std::vector<double>{1.0, 2.5}));
  EXPECT_EQ(section.paths, (std::vector<std::string>{"a b", "c,d", "e\\f"}));
  EXPECT_EQ(section.limit, 5);
  EXPECT_EQ(section.scale, std::nullopt);
  EXPECT_EQ(section.kind, Kind::kRmsNorm);
  field(fields, "sizes").set_text("", kFlag);
  EXPECT_TRUE(section.sizes.empty());
}

TEST(FieldRef, TextOfEveryFieldReadsBackEqual) {
  EveryKind from;
  from.truth = false;
  from.count = std::numeric_limits<int64_t>::min();
  from.rate = 0.1 + 0.2;
  from.label = "comma, backslash \\ none";
  from.sizes = {std::numeric_limits<int64_t>::max(), -1};
  from.weights = {1.0 / 3.0, 1e300};
  from.paths = {"a,b", "\\", "none", " "};
  from.limit = 3;
  from.scale = std::nullopt;
  from.kind = Kind::kFancy;
  EveryKind to;
  auto source = collect_fields(from);
  auto target = collect_fields(to);
  for (size_t i = 0; i < source.size(); ++i) {
    ASSERT_NE(source[i].text(), target[i].text()) << source[i].name();
    target[i].set_text(source[i].text(), kFlag);
    EXPECT_EQ(source[i].text(), target[i].text());
  }
  EXPECT_EQ(to.rate, from.rate);
  EXPECT_EQ(to.weights, from.weights);
  EXPECT_EQ(to.paths, from.paths);
  EXPECT_EQ(to.label, from.label);
}

TEST(FieldRef, DoublesRoundTripBitForBit) {
  EveryKind section;
  auto fields = collect_fields(section);
  FieldRef& rate = field(fields, "rate");
  std::mt19937_64 random(1);
  int compared = 0;
  std::vector<double> values = {0.0,          -0.0,        1.0, 1e22, 1e23, 5e-324, 1.7976931348623157e308,
                                4294967296.0, 123456789e12};
  for (int i = 0; i < 20000; ++i) {
    const uint64_t bits = random();
    double value;
    std::memcpy(&value, &bits, sizeof(value));
    if (std::isfinite(value)) values.push_back(value);
  }
  for (const double value : values) {
    section.rate = value;
    const std::string text = rate.text();
    EXPECT_NE(text.find_first_of(".e"), std::string::npos) << text;  // or TOML reads an integer
    section.rate = 42;
    rate.set_text(text, kFlag);
    EXPECT_EQ(std::memcmp(&section.rate, &value, sizeof(value)), 0) << text;
    ++compared;
  }
  EXPECT_GT(compared, 19000);
  section.rate = 0.1;
  EXPECT_EQ(rate.text(), "0.1");  // the shortest
  section.rate = 3.0;
  EXPECT_EQ(rate.text(), "3.0");
}

TEST(FieldRef, WrongTextIsAnErrorThatSaysEverythingAndChangesNothing) {
  const std::vector<std::vector<std::string>> cases = {
      {"truth", "yes",
       "--every.x: got 'yes'; needed true or false. Fix: write true or false (truth: a truth value)"},
      {"count", "1.5",
       "--every.x: got '1.5'; needed an integer. Fix: write the whole number 2 (count: number of things)"},
      {"count", "",
       "--every.x: got ''; needed an integer. Fix: write an integer, e.g. 7 (count: number of things)"},
      {"count", "9223372036854775808",
       "--every.x: got '9223372036854775808'; needed an integer. Fix: write an integer of at most 18 digits (count: number of things)"},
      {"rate", "fast",
       "--every.x: got 'fast'; needed a number. Fix: write a finite number, e.g. 1e-05 (rate: things a second)"},
      {"rate", "nan",
       "--every.x: got 'nan'; needed a number. Fix: write a finite number, e.g. 1e-05 (rate: things a second)"},
      {"rate", "inf",
       "--every.x: got 'inf'; needed a number. Fix: write a finite number, e.g. 1e-05 (rate: things a second)"},
      {"rate", "1e999",
       "--every.x: got '1e999'; needed a number. Fix: write a finite number, e.g. 1e-05 (rate: things a second)"},
      {"rate", "+-1",
       "--every.x: got '+-1'; needed a number. Fix: write a finite number, e.g. 1e-05 (rate: things a second)"},
      {"sizes", "1,x",
       "--every.x: got '1,x'; needed a list of integers. Fix: write 1,2 (sizes: sizes in bytes)"},
      {"sizes", "1,,2",
       "--every.x: got '1,,2'; needed a list of integers. Fix: write 1,2 (sizes: sizes in bytes)"},
      {"paths", "a\\",
       "--every.x: got 'a\\'; needed a list of texts, none of them empty. Fix: write a,b (paths: files to read)"},
      {"limit", "many",
       "--every.x: got 'many'; needed an integer or none. Fix: write an integer, e.g. 1 (limit: largest thing)"},
      {"kind", "zebra",
       "--every.x: got 'zebra'; needed one of: plain, fancy, rms_norm. Fix: choose one of these; the default is plain (kind: which thing)"},
      {"kind", "rmsnorm",
       "--every.x: got 'rmsnorm'; needed one of: plain, fancy, rms_norm. Fix: did you mean 'rms_norm'? (kind: which thing)"},
  };
  EveryKind section;
  auto fields = collect_fields(section);
  for (const auto& c : cases) {
    FieldRef& target = field(fields, c[0]);
    EXPECT_EQ(error_text(ErrorKind::kUsage, [&] { target.set_text(c[1], kFlag); }), c[2]);
    EXPECT_TRUE(target.is_default()) << c[0];
  }
}

TEST(FieldRef, TypedValuesDoNotBendExceptIntegersToNumbers) {
  EveryKind section;
  auto fields = collect_fields(section);
  const ValueSource file{.where = "run.toml:2:5 every.x"};
  field(fields, "rate").set_value(scalar_value(int64_t{3}), file);
  EXPECT_EQ(section.rate, 3.0);
  field(fields, "weights").set_value({.is_list = true, .items = {int64_t{1}, 0.5}}, file);
  EXPECT_EQ(section.weights, (std::vector<double>{1.0, 0.5}));
  field(fields, "scale").set_value(scalar_value({}), file);
  EXPECT_EQ(section.scale, std::nullopt);
  const auto refused = [&](const std::string& name, const ConfigValue& value) {
    return error_text(ErrorKind::kBadInput, [&] { field(fields, name).set_value(value, file); });
  };
  EXPECT_EQ(
      refused("count", scalar_value(1.0)),
      "run.toml:2:5 every.x: got the number 1.0; needed an integer. Fix: write the whole number 1 (count: number of things)");
  EXPECT_EQ(
      refused("count", scalar_value(std::string("8"))),
      "run.toml:2:5 every.x: got the text '8'; needed an integer. Fix: write the whole number 8 (count: number of things)");
  EXPECT_EQ(
      refused("truth", scalar_value(int64_t{1})),
      "run.toml:2:5 every.x: got the integer 1; needed true or false. Fix: write true or false (truth: a truth value)");
  EXPECT_EQ(
      refused("label", scalar_value(true)),
      "run.toml:2:5 every.x: got the truth value true; needed a text. Fix: write it in quotes: \"true\" (label: name of the thing)");
  EXPECT_EQ(
      refused("count", scalar_value({})),
      "run.toml:2:5 every.x: got none; needed an integer. Fix: write an integer, e.g. 7 (count: number of things)");
  EXPECT_EQ(
      refused("sizes", scalar_value(int64_t{1})),
      "run.toml:2:5 every.x: got the integer 1; needed a list of integers. Fix: write [1, 2] (sizes: sizes in bytes)");
  EXPECT_EQ(
      refused("sizes", {.is_list = true, .items = {int64_t{1}, std::string("x")}}),
      "run.toml:2:5 every.x: got a list with the text 'x'; needed a list of integers. Fix: write [1, 2] (sizes: sizes in bytes)");
  EXPECT_EQ(
      refused("count", {.is_list = true, .items = {int64_t{1}, int64_t{2}}}),
      "run.toml:2:5 every.x: got a list of 2 values; needed an integer. Fix: write an integer, e.g. 7 (count: number of things)");
  EXPECT_EQ(refused("paths", {.is_list = true, .items = {std::string()}}),
            "run.toml:2:5 every.x: got a list with the text ''; needed a list of texts, none of them empty. "
            "Fix: write [\"a\", \"b\"] (paths: files to read)");
}

TEST(FieldRef, WordsAreItemsCommasAndAll) {
  EveryKind section;
  auto fields = collect_fields(section);
  field(fields, "paths").set_items({"0.3", "a,b"}, kFlag);
  EXPECT_EQ(section.paths, (std::vector<std::string>{"0.3", "a,b"}));
  field(fields, "count").set_items({"4"}, kFlag);
  EXPECT_EQ(section.count, 4);
  EXPECT_EQ(
      error_text(ErrorKind::kUsage,
                 [&] {
                   field(fields, "count").set_items({"4", "5"}, kFlag);
                 }),
      "--every.x: got '4 5'; needed an integer. Fix: write an integer, e.g. 7 (count: number of things)");
}

enum class Device { kCpu, kCuda, kBf16 };
std::span<const EnumName<Device>> enum_names(Device) {
  static constexpr EnumName<Device> kNames[] = {
      {Device::kCpu, "cpu"}, {Device::kCuda, "cuda"}, {Device::kBf16, "bf16"}};
  return kNames;
}

struct Devices {
  Device device = Device::kCpu;
  template <typename Visitor>
  void visit_fields(Visitor& v) {
    v.field("device", device, "where to compute");
  }
};

// The nearest by letters would be another device.
TEST(FieldRef, WhatPeopleCallThingsElsewhereIsNoTypo) {
  Devices section;
  auto fields = collect_fields(section);
  const auto fix_of = [&](const std::string& word) {
    const std::string message = error_text(ErrorKind::kUsage, [&] { fields[0].set_text(word, kFlag); });
    return message.substr(message.find("Fix: ") + 5);
  };
  EXPECT_EQ(fix_of("gpu"), "did you mean 'cuda'? (device: where to compute)");
  EXPECT_EQ(fix_of("GPU"), "did you mean 'cuda'? (device: where to compute)");
  EXPECT_EQ(fix_of("bfloat16"), "did you mean 'bf16'? (device: where to compute)");
  EXPECT_EQ(fix_of("CPU"), "did you mean 'cpu'? (device: where to compute)");
  EXPECT_EQ(fix_of("half"), "choose one of these; the default is cpu (device: where to compute)");
  EXPECT_EQ(fix_of("tpu"), "choose one of these; the default is cpu (device: where to compute)");
  EXPECT_EQ(fix_of("tpu9"), "choose one of these; the default is cpu (device: where to compute)");
  EXPECT_EQ(fix_of("cudaa"), "did you mean 'cuda'? (device: where to compute)");
  EXPECT_EQ(fix_of("accelerator"), "choose one of these; the default is cpu (device: where to compute)");
}

struct BadName {
  int64_t x = 0;
  template <typename Visitor>
  void visit_fields(Visitor& v) {
    v.field("hidden-size", x, "width");
  }
};

TEST(FieldRefDeathTest, NamesAreSnakeCase) {
  BadName section;
  EXPECT_DEATH(collect_fields(section), "snake_case");
}

}  // namespace
}  // namespace phalanx
