#include <gtest/gtest.h>

#include <filesystem>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/base/json.h"
#include "phalanx/base/philox.h"

namespace phalanx {
namespace {

TEST(Error, SaysWhereGotNeededFix) {
  const Error e(ErrorKind::kBadInput, {.where = "a.idx", .got = "3 bytes", .needed = "34", .fix = "look"});
  EXPECT_STREQ(e.what(), "a.idx: got 3 bytes; needed 34. Fix: look");
  EXPECT_EQ(e.exit_code(), 3);
}

TEST(Error, NearestNameFindsTyposOnly) {
  const std::vector<std::string> known = {"hidden_size", "num_layers"};
  EXPECT_EQ(nearest_name("hiden_size", known), "hidden_size");
  EXPECT_EQ(nearest_name("zzz", known), "");
}

// The block after the last would have the bits of block 0.
TEST(PhiloxDeathTest, AnElementBeyondTheCounterIsNoOtherElement) {
  const RandomKey key{.seed = 1, .layer = 3};
  const auto last = static_cast<uint64_t>(kMaxPhiloxElements) - 1;
  EXPECT_EQ(philox_u32(key, last), philox_block(key, last / 4)[3]);
  EXPECT_DEATH(philox_u32(key, last + 1), "indices below 2.50");
}

// Known-answer vectors of the Random123 distribution (kat_vectors, philox4x32 10 rounds).
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(philox4x32_10({0, 0, 0, 0}, 0),
            (PhiloxBlock{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}));
  EXPECT_EQ(philox4x32_10({~0u, ~0u, ~0u, ~0u}, ~uint64_t{0}),
            (PhiloxBlock{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}));
  EXPECT_EQ(philox4x32_10({0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}, 0x299f31d0a4093822ull),
            (PhiloxBlock{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}));
}

TEST(Philox, EveryFieldOfTheKeyMatters) {
  const RandomKey base{.seed = 1, .purpose = RandomPurpose::kTest, .step = 2, .layer = 3};
  const PhiloxBlock reference = philox_block(base, 7);
  for (RandomKey changed :
       {RandomKey{2, RandomPurpose::kTest, 2, 3}, RandomKey{1, RandomPurpose::kInit, 2, 3},
        RandomKey{1, RandomPurpose::kTest, (int64_t{1} << 33) + 2, 3},
        RandomKey{1, RandomPurpose::kTest, 2, 4}}) {
    EXPECT_NE(philox_block(changed, 7), reference);
  }
  EXPECT_NE(philox_block(base, 7 + (uint64_t{1} << 40)), reference);
}

TEST(Philox, NormalHasUnitVariance) {
  const RandomKey key{.seed = 9};
  double sum = 0, squares = 0;
  const int n = 100000;
  for (int i = 0; i < n; ++i) {
    const double x = philox_normal(key, i);
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / n, 0.0, 0.02);
  EXPECT_NEAR(squares / n, 1.0, 0.02);
}

TEST(Json, ErrorsNameThePlace) {
  try {
    parse_json("{\"a\": }", "x.json");
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("x.json"), std::string::npos);
    EXPECT_NE(std::string(e.what()).find("line 1"), std::string::npos);
  }
  EXPECT_THROW(parse_json(std::string(200, '['), "deep.json"), Error);
  EXPECT_THROW(json_get<int>(parse_json("{\"a\": \"b\"}", "x"), "a", "x"), Error);
}

// Mutated text gives a value or an Error, nothing else.
TEST(Json, FuzzParserThrowsOnlyOurErrors) {
  const std::string seed = R"({"a": [1, 2.5e3, -0, "text \u00e9"], "b": {"c": null, "d": true}})";
  const RandomKey key{.seed = 4};
  int accepted = 0;
  for (uint64_t round = 0; round < 20000; ++round) {
    std::string text = seed;
    for (uint64_t edit = 0; edit < 1 + round % 4; ++edit) {
      const uint32_t word = philox_u32(key, round * 8 + edit);
      const size_t place = word % text.size();
      if (word >> 31) {
        text[place] = static_cast<char>(word >> 8);
      } else {
        text.erase(place, 1 + (word >> 8) % 5);
      }
      if (text.empty()) text = "[";
    }
    try {
      parse_json(text, "fuzz");
      ++accepted;
    } catch (const Error&) {
    }
  }
  EXPECT_GT(accepted, 100);
  EXPECT_LT(accepted, 19000);
}

TEST(Fs, AtomicWriteKeepsTheOldFileOnFailure) {
  const TemporaryDirectory folder;
  const std::string path = folder.path() + "/f";
  write_file_atomic(path, "old");
  {
    AtomicFile file(path);
    file.write("new", 3);  // never committed
  }
  EXPECT_EQ(read_file(path), "old");
  write_file_atomic(path, "new");
  EXPECT_EQ(read_file(path), "new");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
  EXPECT_THROW(read_file(folder.path()), Error);
  EXPECT_THROW(write_file_atomic(folder.path() + "/no/such/f", "x"), Error);
}

}  // namespace
}  // namespace phalanx
