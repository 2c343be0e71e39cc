#include "phalanx/shard/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/shard/safetensors.h"

namespace phalanx {
namespace {

using testing::HasSubstr;

// Two tensors over two files: w [4, 6] in a 2 x 2 grid of uneven boxes, and a scalar.
Manifest example() {
  Manifest m;
  m.metadata = {{"step", 12}, {"config", {{"hidden", 6}}}};
  m.files = {{"a.safetensors", 100, 1}, {"b.safetensors", 200, 0xfedcba9876543210u}};
  m.tensors = {{"w",
                FileDtype::kF32,
                {4, 6},
                {{{{0, 0}, {3, 2}}, "a.safetensors", "w.0"},
                 {{{3, 0}, {4, 2}}, "a.safetensors", "w.1"},
                 {{{0, 2}, {3, 6}}, "b.safetensors", "w.0"},
                 {{{3, 2}, {4, 6}}, "b.safetensors", "w.1"}}},
               {"s", FileDtype::kBF16, {}, {{{{}, {}}, "a.safetensors", "s"}}}};
  return m;
}

template <typename F>
std::string error_of(F action, ErrorKind kind = ErrorKind::kBadInput) {
  try {
    action();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), kind);
    return e.what();
  }
  return "(no error)";
}

std::string error_of_text(const std::string& text) {
  return error_of([&] { parse_manifest(text, "m.json"); });
}

std::string error_of_change(const std::function<void(Manifest&)>& change) {
  Manifest m = example();
  change(m);
  return error_of_text(manifest_to_text(m));
}

std::string error_of_json_change(const std::function<void(Json&)>& change) {
  Json root = parse_json(manifest_to_text(example()), "x");
  change(root);
  return error_of_text(root.dump());
}

TEST(Manifest, RoundTrip) {
  const std::string text = manifest_to_text(example());
  const Manifest m = parse_manifest(text, "m.json");
  EXPECT_EQ(manifest_to_text(m), text);
  EXPECT_EQ(m.metadata["config"]["hidden"], 6);
  EXPECT_EQ(m.files[1].checksum, 0xfedcba9876543210u);
  const ManifestIndex index(m);
  ASSERT_NE(index.find("w"), nullptr);
  EXPECT_EQ(index.find("w")->boxes[2].box, (Box{{0, 2}, {3, 6}}));
  EXPECT_EQ(index.find("s")->dtype, FileDtype::kBF16);
  EXPECT_EQ(index.find("v"), nullptr);
}

// The bytes of version 1: a file of today must load for ever.
TEST(Manifest, Version1Text) {
  const Manifest m = parse_manifest(R"({"format": "phalanx-checkpoint", "version": 1, "metadata": {"step": 3},
    "files": [{"name": "f", "size": 40, "xxh3": "00000000000000ff"}],
    "tensors": [{"name": "t", "dtype": "I64", "shape": [5],
                 "boxes": [{"begin": [0], "end": [2], "file": "f", "key": "t.0"},
                           {"begin": [2], "end": [5], "file": "f", "key": "t.1"}]}]})",
                                    "m.json");
  EXPECT_EQ(m.metadata["step"], 3);
  EXPECT_EQ(m.files[0].checksum, 255u);
  EXPECT_EQ(m.tensors[0].boxes[1].key, "t.1");
}

TEST(Manifest, TruncatedEmptyForeignAndNewer) {
  const std::string text = manifest_to_text(example());
  EXPECT_THAT(error_of_text(""), HasSubstr("m.json: got [json.exception.parse_error"));
  EXPECT_THAT(error_of_text(text.substr(0, text.size() / 2)), HasSubstr("needed valid JSON"));
  EXPECT_THAT(
      error_of_text("{\"weight_map\": {}}"),
      HasSubstr(
          "m.json: got JSON of another kind; needed a manifest with \"format\": \"phalanx-checkpoint\""));
  EXPECT_THAT(error_of_text("[1, 2]"), HasSubstr("JSON of another kind"));
  EXPECT_THAT(
      error_of_json_change([](Json& j) { j["version"] = 2; }),
      HasSubstr("m.json: got format version 2; needed version 1 or older. Fix: a newer phalanx wrote it"));
  EXPECT_THAT(error_of_json_change([](Json& j) { j["version"] = 0; }), HasSubstr("field 'version': got 0"));
  EXPECT_THAT(error_of_json_change([](Json& j) { j["version"] = "1"; }),
              HasSubstr("field 'version': got \"1\""));
}

TEST(Manifest, CoverageIsExact) {
  EXPECT_THAT(error_of_change([](Manifest& m) { m.tensors[0].boxes.pop_back(); }),
              HasSubstr("m.json: tensor 'w': got no box for [3:4, 2:6]; needed every element in one box"));
  EXPECT_THAT(error_of_change([](Manifest& m) { m.tensors[1].boxes.clear(); }),
              HasSubstr("m.json: tensor 's': got no box for []"));
  EXPECT_THAT(error_of_change([](Manifest& m) { m.tensors[0].boxes[1].box.begin[0] = 2; }),
              HasSubstr("m.json: tensor 'w': got the boxes [0:3, 0:2] and [2:4, 0:2], which overlap"));
  EXPECT_THAT(error_of_change([](Manifest& m) { m.tensors[0].boxes[3].box.end[1] = 7; }),
              HasSubstr("tensor 'w': got the box [3:4, 2:7]; needed a box inside the shape [4, 6]"));
  EXPECT_THAT(error_of_change([](Manifest& m) {
                m.tensors[0].boxes[3].box = {{3, 6}, {4, 2}};
              }),
              HasSubstr("got the box [3:4, 6:2]"));
  EXPECT_THAT(error_of_change([](Manifest& m) {
                m.tensors[0].boxes[3].box = {{3}, {4, 2}};
              }),
              HasSubstr("got a box with 1 begins and 2 ends; needed 2 of each"));
}

TEST(Manifest, NamesFilesAndKeys) {
  EXPECT_THAT(error_of_change([](Manifest& m) { m.tensors[1].name = "w"; }),
              HasSubstr("tensor 'w': got the name twice"));
  EXPECT_THAT(error_of_change([](Manifest& m) { m.files[1].name = "a.safetensors"; }),
              HasSubstr("got the file 'a.safetensors' twice"));
  EXPECT_THAT(error_of_change([](Manifest& m) { m.files[0].name = "../a"; }),
              HasSubstr("got the file name '../a'; needed a name without folders"));
  EXPECT_THAT(error_of_change([](Manifest& m) { m.tensors[0].boxes[0].file = "c"; }),
              HasSubstr("got the box [0:3, 0:2] in the file 'c'; needed a file that the manifest lists"));
  EXPECT_THAT(error_of_change([](Manifest& m) { m.tensors[0].boxes[0].key = "w.1"; }),
              HasSubstr("got the key 'w.1' of the file 'a.safetensors', which another box uses"));
}

TEST(Manifest, TypesOfFields) {
  EXPECT_THAT(error_of_json_change([](Json& j) { j["tensors"][0]["dtype"] = "F31"; }),
              HasSubstr("m.json: tensor 'w': got the unknown dtype 'F31'"));
  EXPECT_THAT(error_of_json_change([](Json& j) { j["tensors"][0]["shape"][0] = -4; }),
              HasSubstr("tensor 'w': field 'shape': got -4; needed a whole number that is not negative"));
  EXPECT_THAT(error_of_json_change([](Json& j) { j["tensors"][0]["shape"][0] = 4.5; }), HasSubstr("got 4.5"));
  EXPECT_THAT(error_of_json_change([](Json& j) {
                j["tensors"][0]["shape"] = {int64_t{1} << 40, int64_t{1} << 40};
              }),
              HasSubstr("tensor 'w': got the shape [1099511627776, 1099511627776]"));
  EXPECT_THAT(error_of_json_change([](Json& j) { j["tensors"][0]["shape"][0] = 1ull << 63; }),
              HasSubstr("needed a number below 2^63"));
  EXPECT_THAT(error_of_json_change([](Json& j) { j["tensors"][0].erase("boxes"); }),
              HasSubstr("field 'boxes': got no such field"));
  EXPECT_THAT(error_of_json_change([](Json& j) { j["tensors"] = 3; }),
              HasSubstr("field 'tensors': got 3; needed an array"));
  EXPECT_THAT(error_of_json_change([](Json& j) { j["tensors"][0] = 3; }),
              HasSubstr("got 3; needed a JSON object"));
  EXPECT_THAT(error_of_json_change([](Json& j) { j["tensors"][0]["name"] = 3; }),
              HasSubstr("got 3; needed a string"));
  EXPECT_THAT(error_of_json_change([](Json& j) { j["files"][0]["xxh3"] = "12"; }),
              HasSubstr("field 'xxh3': got '12'; needed 16 lower-case hexadecimal digits"));
  EXPECT_THAT(error_of_json_change([](Json& j) { j.erase("metadata"); }), HasSubstr("field 'metadata'"));
}

TEST(Checksum, KnownAnswersAndText) {
  EXPECT_EQ(checksum_of({}), 0x2d06800538d394c2u);  // XXH3 with 64 bits of nothing, seed 0
  Checksum pieces;
  std::vector<std::byte> bytes(1000, std::byte{3});
  for (size_t i = 0; i < 1000; i += 125) pieces.update(std::span(bytes).subspan(i, 125));
  EXPECT_EQ(pieces.digest(), checksum_of(bytes));
  EXPECT_EQ(checksum_from_text(checksum_to_text(0x0123456789abcdefu)), 0x0123456789abcdefu);
  EXPECT_EQ(checksum_from_text("0123456789ABCDEF"), std::nullopt);
}

// A checkpoint folder on disk, for verify_checkpoint_files.
class VerifyTest : public testing::Test {
 protected:
  VerifyTest() {
    SafetensorsWriter writer(file(), {{"w.0", FileDtype::kU8, {2, 3}}, {"w.1", FileDtype::kU8, {1, 3}}});
    const std::vector<std::byte> bytes(9, std::byte{5});
    writer.write("w.0", std::span(bytes).first(6));
    writer.write("w.1", std::span(bytes).last(3));
    const WrittenFile written = writer.commit();
    manifest_.files = {{"f", written.size, written.checksum}};
    manifest_.tensors = {
        {"w", FileDtype::kU8, {3, 3}, {{{{0, 0}, {2, 3}}, "f", "w.0"}, {{{2, 0}, {3, 3}}, "f", "w.1"}}}};
  }
  std::string file() const { return folder_.path() + "/f"; }
  std::string verify(ErrorKind kind = ErrorKind::kBadInput) const {
    return error_of([&] { verify_checkpoint_files(manifest_, folder_.path()); }, kind);
  }

  TemporaryDirectory folder_;
  Manifest manifest_;
};

TEST_F(VerifyTest, GoodFolder) {
  write_manifest(folder_.path(), manifest_);
  manifest_ = read_manifest(folder_.path());
  EXPECT_EQ(verify(), "(no error)");
}

TEST_F(VerifyTest, AFlippedBitATruncationAndAMissingFile) {
  std::string bytes = read_file(file());
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  write_file_atomic(file(), bytes);
  EXPECT_THAT(verify(), HasSubstr("/f: got the checksum "));
  write_file_atomic(file(), std::string_view(bytes).substr(0, bytes.size() - 1));
  EXPECT_THAT(verify(),
              HasSubstr(", as the manifest says. Fix: the checkpoint is damaged; use an earlier one"));
  std::remove(file().c_str());
  EXPECT_THAT(verify(ErrorKind::kIo), HasSubstr("/f: got open failed"));
}

TEST_F(VerifyTest, AnotherShapeDtypeOrKey) {
  manifest_.tensors[0].dtype = FileDtype::kI8;
  EXPECT_THAT(
      verify(),
      HasSubstr("tensor 'w.0': got U8 of shape [2, 3]; needed I8 of shape [2, 3], as the manifest says"));
  manifest_.tensors[0].dtype = FileDtype::kU8;
  manifest_.tensors[0].boxes[0].box.end[0] = 1;
  EXPECT_THAT(verify(), HasSubstr("needed U8 of shape [1, 3]"));
  manifest_.tensors[0].boxes[0].key = "v";
  EXPECT_THAT(verify(), HasSubstr("got no tensor 'v' among its 2"));
}

TEST_F(VerifyTest, AnInvalidManifestIsNotWritten) {
  manifest_.tensors[0].boxes.pop_back();
  EXPECT_THAT(error_of([&] { write_manifest(folder_.path(), manifest_); }),
              HasSubstr("no box for [2:3, 0:3]"));
  EXPECT_FALSE(path_exists(folder_.path() + "/" + kManifestFileName));
}

TEST(Manifest, ManyBoxesAreChecked) {
  Manifest m;
  m.files = {{"f", 0, 0}};
  StoredTensor t{"t", FileDtype::kF32, {20000, 8}, {}};
  for (int64_t i = 0; i < 20000; ++i) t.boxes.push_back({{{i, 0}, {i + 1, 8}}, "f", std::to_string(i)});
  m.tensors = {t};
  EXPECT_EQ(error_of([&] { validate_manifest(m, "m"); }), "(no error)");
  m.tensors[0].boxes.erase(m.tensors[0].boxes.begin() + 777);
  EXPECT_THAT(error_of([&] { validate_manifest(m, "m"); }), HasSubstr("boxes for 159992 of 160000 elements"));
}

TEST(ManifestFuzz, MutatedTextIsReadConsistentlyOrRefused) {
  const std::string valid = parse_json(manifest_to_text(example()), "x").dump();
  std::mt19937_64 random(7);
  int accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string text = valid;
    for (uint64_t edits = 1 + random() % 3; edits > 0 && !text.empty(); --edits) {
      const size_t at = random() % text.size();
      switch (random() % 5) {
        case 0:
          text[at] = static_cast<char>(random());
          break;
        case 1:
          text[at] = "0123456789{}[],:\"-.e"[random() % 20];
          break;
        case 2:
          text.erase(at, random() % 8);
          break;
        case 3:
          text.insert(at, text.substr(random() % text.size(), random() % 60));
          break;
        default:
          if (random() % 8 == 0) text.resize(at);
      }
    }
    try {
      const Manifest m = parse_manifest(text, "m.json");
      validate_manifest(m, "again");  // what was accepted keeps the contract
      ++accepted;
    } catch (const Error& e) {
      ASSERT_EQ(e.kind(), ErrorKind::kBadInput) << e.what();
    }
  }
  EXPECT_GT(accepted, 500);
  EXPECT_LT(accepted, 15000);
}

}  // namespace
}  // namespace phalanx
