#include "phalanx/shard/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

using testing::HasSubstr;

std::string with_header(const std::string& header, size_t data_size) {
  std::string file(8, '\0');
  for (size_t i = 0; i < 8; ++i) file[i] = static_cast<char>(header.size() >> (8 * i));
  return file + header + std::string(data_size, 'x');
}

SafetensorsHeader parse(const std::string& file) {
  return parse_safetensors_header(std::as_bytes(std::span(file)), "m.safetensors");
}

std::string error_of(const std::string& file) {
  try {
    parse(file);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kBadInput);
    return e.what();
  }
  return "(no error)";
}

std::string entry(const std::string& name, const std::string& offsets, const std::string& shape = "[2]",
                  const std::string& dtype = "\"F32\"") {
  return "\"" + name + "\":{\"dtype\":" + dtype + ",\"shape\":" + shape + ",\"data_offsets\":" + offsets +
         "}";
}

std::string error_of_header(const std::string& entries, size_t data_size) {
  return error_of(with_header("{" + entries + "}", data_size));
}

TEST(Safetensors, ReadsWhatItWrote) {
  const TemporaryDirectory folder;
  const std::string path = folder.path() + "/a.safetensors";
  const std::vector<float> weights = {1, 2, 3, 4, 5, 6};
  const std::vector<uint16_t> bias = {7, 8, 9};
  SafetensorsWriter writer(path,
                           {{"w", FileDtype::kF32, {2, 3}},
                            {"nothing", FileDtype::kI64, {0, 4}},
                            {"b\"\n", FileDtype::kBF16, {3}},
                            {"scalar", FileDtype::kU8, {}}},
                           {{"format", "pt"}, {"format2", "x\ty"}});
  writer.write("w", std::as_bytes(std::span(weights).first(2)));
  writer.write("w", std::as_bytes(std::span(weights).subspan(2)));
  writer.write("nothing", {});
  writer.write("b\"\n", std::as_bytes(std::span(bias)));
  EXPECT_FALSE(path_exists(path));
  const std::byte one{1};
  writer.write("scalar", {&one, 1});
  const WrittenFile written = writer.commit();

  const SafetensorsFile file(path);
  EXPECT_EQ(written.size, file.file_bytes().size());
  EXPECT_EQ(written.checksum, checksum_of(file.file_bytes()));
  EXPECT_EQ(file.header().data_begin % 8, 0u);
  EXPECT_EQ(file.header().metadata, (SafetensorsMetadata{{"format", "pt"}, {"format2", "x\ty"}}));
  ASSERT_EQ(file.header().entries.size(), 4u);
  EXPECT_EQ(file.at("w").shape, (Shape{2, 3}));
  EXPECT_EQ(std::memcmp(file.bytes(file.at("w")).data(), weights.data(), 24), 0);
  EXPECT_EQ(std::memcmp(file.bytes(file.at("b\"\n")).data(), bias.data(), 6), 0);
  EXPECT_EQ(file.at("b\"\n").dtype, FileDtype::kBF16);
  EXPECT_EQ(file.bytes(file.at("nothing")).size(), 0u);
  EXPECT_EQ(file.bytes(file.at("scalar"))[0], one);
  EXPECT_EQ(file.find("x"), nullptr);
  try {
    file.at("scalor");
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("a.safetensors: got no tensor 'scalor' among its 4"));
    EXPECT_THAT(e.what(), HasSubstr("did you mean 'scalar'?"));
  }
}

// Bytes that the reference library writes for {"b": uint8 [1, 2], "a": float32 [[1.5]]} with metadata {"k": "v"}.
TEST(Safetensors, ReadsAFileOfTheReferenceLibrary) {
  const std::string header =
      R"({"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},)"
      R"("b":{"dtype":"U8","shape":[2],"data_offsets":[4,6]}}   )";
  const std::string length("\x88\0\0\0\0\0\0\0", 8);
  const std::string data("\0\0\xC0\x3F\1\2", 6);
  const SafetensorsHeader parsed = parse(length + header + data);
  ASSERT_EQ(parsed.entries.size(), 2u);
  EXPECT_EQ(parsed.entries[0].name, "a");
  EXPECT_EQ(parsed.entries[0].dtype, FileDtype::kF32);
  EXPECT_EQ(parsed.entries[1].shape, (Shape{2}));
  EXPECT_EQ(parsed.entries[1].begin, 4u);
  EXPECT_EQ(parsed.data_begin, 8 + header.size());
}

TEST(Safetensors, EmptyFilesAndHeaders) {
  EXPECT_EQ(parse(with_header("{}", 0)).entries.size(), 0u);
  EXPECT_EQ(parse(with_header("{\"__metadata__\":{}}   ", 0)).metadata.size(), 0u);
  EXPECT_THAT(error_of(""), HasSubstr("m.safetensors: got a file of 0 bytes; needed at least the 8 bytes"));
  EXPECT_THAT(error_of("1234567"), HasSubstr("got a file of 7 bytes"));
  EXPECT_THAT(error_of(with_header("", 0)), HasSubstr("header: got no '{' at its start"));
}

TEST(Safetensors, HostileHeaderLength) {
  EXPECT_THAT(error_of(std::string(8, '\xff') + "{}"),
              HasSubstr("got a header length of 18446744073709551615 bytes; needed at most 100000000"));
  std::string one_too_long = with_header("{}", 0);
  one_too_long[0] = 3;
  EXPECT_THAT(error_of(one_too_long), HasSubstr("got a header length of 3 bytes in a file of 10; needed"));
  const std::string cut = with_header("{" + entry("a", "[0,8]") + "}", 8);
  EXPECT_THAT(error_of(cut.substr(0, 30)),
              HasSubstr("bytes in a file of 30; needed a header inside the file"));
}

TEST(Safetensors, NotJson) {
  EXPECT_THAT(error_of("PK\3\4, a zip file"), HasSubstr("m.safetensors: got a header length of"));
  EXPECT_THAT(error_of(with_header("[1]", 0)), HasSubstr("no '{' at its start"));
  EXPECT_THAT(error_of(with_header("{\"a\":}", 0)),
              HasSubstr("m.safetensors: header: got [json.exception.parse_error"));
  EXPECT_THAT(error_of(with_header("{} {}", 0)), HasSubstr("needed valid JSON"));
  EXPECT_THAT(error_of(with_header("{\"\xff\":1}", 0)), HasSubstr("needed valid JSON"));
  EXPECT_THAT(error_of(with_header("{\"a\":" + std::string(100000, '['), 0)),
              HasSubstr("got an array; needed an object"));
}

TEST(Safetensors, OffsetsAgainstTheFile) {
  EXPECT_THAT(error_of_header(entry("a", "[8,0]"), 8),
              HasSubstr("tensor 'a': got data_offsets [8, 0]; needed begin <= end"));
  EXPECT_THAT(
      error_of_header(entry("a", "[0,16]", "[4]"), 8),
      HasSubstr(
          "tensor 'a': got data_offsets [0, 16]; needed offsets within the 8 bytes of data in the file. Fix: "
          "the file is cut short"));
  EXPECT_THAT(error_of_header(entry("a", "[18446744073709551608,18446744073709551615]"), 8),
              HasSubstr("needed offsets within the 8 bytes"));
  EXPECT_THAT(error_of_header(entry("a", "[0,8]", "[1]"), 8),
              HasSubstr("got 8 bytes; needed 4 bytes for F32 of shape [1]"));
  EXPECT_THAT(error_of_header(entry("a", "[0,8]", "[3]"), 8),
              HasSubstr("got 8 bytes; needed 12 bytes for F32 of shape [3]"));
  EXPECT_THAT(error_of_header(entry("a", "[0,8]", "[4611686018427387904,2]"), 8),
              HasSubstr("got shape [4611686018427387904, 2]; needed a size below 2^63 bytes"));
}

TEST(Safetensors, OverlapsHolesAndRests) {
  EXPECT_THAT(error_of_header(entry("a", "[0,8]") + "," + entry("b", "[4,12]"), 12),
              HasSubstr("tensor 'b': got bytes [4, 12), which overlap tensor 'a'"));
  EXPECT_THAT(error_of_header(entry("a", "[0,8]") + "," + entry("b", "[12,20]"), 20),
              HasSubstr("tensor 'b': got a hole of 4 bytes before it"));
  EXPECT_THAT(error_of_header(entry("a", "[4,12]"), 12),
              HasSubstr("tensor 'a': got a hole of 4 bytes before it"));
  EXPECT_THAT(error_of_header(entry("a", "[0,8]"), 11),
              HasSubstr("m.safetensors: got 3 bytes after the last tensor"));
  EXPECT_EQ(error_of_header(
                entry("b", "[8,16]") + "," + entry("a", "[0,8]") + "," + entry("c", "[8,8]", "[0]"), 16),
            "(no error)");
}

TEST(Safetensors, NamesAndFields) {
  EXPECT_THAT(error_of_header(entry("a", "[0,8]") + "," + entry("a", "[8,16]"), 16),
              HasSubstr("tensor 'a': got the name twice; needed unique names"));
  EXPECT_THAT(error_of_header("\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}", 0),
              HasSubstr("the field 'dtype' twice"));
  EXPECT_THAT(error_of_header("\"a\":{\"dtype\":\"F32\",\"shape\":[0]}", 0),
              HasSubstr("tensor 'a': got no field 'data_offsets'"));
  EXPECT_THAT(error_of_header("\"a\":{\"stride\":[1]}", 0), HasSubstr("got the field 'stride'"));
}

TEST(Safetensors, TypesOfValues) {
  EXPECT_THAT(error_of_header("\"a\":3", 0), HasSubstr("tensor 'a': got the number 3; needed an object"));
  EXPECT_THAT(error_of_header("\"a\":null", 0), HasSubstr("got null; needed an object"));
  EXPECT_THAT(
      error_of_header(entry("a", "[0,8]", "[-2]"), 8),
      HasSubstr(
          "tensor 'a': field 'shape': got the negative number -2; needed an array of numbers that are not"));
  EXPECT_THAT(error_of_header(entry("a", "[0,8]", "2"), 8), HasSubstr("field 'shape': got the number 2"));
  EXPECT_THAT(error_of_header(entry("a", "[0,8]", "[2.0]"), 8),
              HasSubstr("field 'shape': got the number 2.0"));
  EXPECT_THAT(error_of_header(entry("a", "[0,8]", "[[2]]"), 8), HasSubstr("field 'shape': got an array"));
  EXPECT_THAT(error_of_header(entry("a", "[0,8]", "[{}]"), 8), HasSubstr("field 'shape': got an object"));
  EXPECT_THAT(error_of_header(entry("a", "[0,8]", "[true]"), 8), HasSubstr("field 'shape': got a boolean"));
  EXPECT_THAT(error_of_header(entry("a", "[0,8]", "[9223372036854775808]"), 8),
              HasSubstr("needed sizes below 2^63"));
  EXPECT_THAT(error_of_header(entry("a", "[0,1e30]"), 8),
              HasSubstr("field 'data_offsets': got the number 1e30"));
  EXPECT_THAT(error_of_header(entry("a", "[0]"), 8), HasSubstr("field 'data_offsets': got 1 numbers"));
  EXPECT_THAT(error_of_header(entry("a", "[0,8,9]"), 8), HasSubstr("got more than two numbers"));
  EXPECT_THAT(error_of_header(entry("a", "[0,8]", "[2]", "32"), 8),
              HasSubstr("field 'dtype': got the number 32"));
  EXPECT_THAT(error_of_header(entry("a", "[0,8]", "[2]", "[\"F32\"]"), 8),
              HasSubstr("field 'dtype': got an array"));
  EXPECT_THAT(error_of_header("\"__metadata__\":{\"k\":1}", 0),
              HasSubstr("m.safetensors: __metadata__: field 'k': got the number 1; needed a string"));
  EXPECT_THAT(error_of_header("\"__metadata__\":[]", 0), HasSubstr("got an array; needed an object"));
}

TEST(Safetensors, Dtypes) {
  EXPECT_THAT(error_of_header(entry("a", "[0,8]", "[2]", "\"F33\""), 8),
              HasSubstr("tensor 'a': got the unknown dtype 'F33'; needed one of BOOL U8 I8"));
  EXPECT_THAT(error_of_header(entry("a", "[0,8]", "[8]", "\"F8_E4M3\""), 8),
              HasSubstr("got the not supported dtype 'F8_E4M3'"));
  for (const char* name :
       {"BOOL", "U8", "I8", "I16", "U16", "I32", "U32", "I64", "U64", "F16", "BF16", "F32", "F64"}) {
    const FileDtype dtype = parse_file_dtype(name, "x");
    EXPECT_EQ(dtype_name(dtype), name);
    const int64_t count = static_cast<int64_t>(16 / dtype_size(dtype));
    EXPECT_EQ(
        error_of_header(
            entry("a", "[0,16]", "[" + std::to_string(count) + "]", "\"" + std::string(name) + "\""), 16),
        "(no error)");
  }
}

TEST(Safetensors, ALongNameIsCutInTheMessage) {
  EXPECT_LT(error_of_header(entry(std::string(100000, 'n'), "[8,0]"), 8).size(), 600u);
}

TEST(Safetensors, ThousandsOfTensorsAreLinear) {
  const TemporaryDirectory folder;
  std::vector<SafetensorsDeclaration> tensors;
  for (int i = 0; i < 30000; ++i) tensors.push_back({"t" + std::to_string(i), FileDtype::kU8, {1}});
  SafetensorsWriter writer(folder.path() + "/f", tensors);
  const std::byte byte{7};
  for (const SafetensorsDeclaration& t : tensors) writer.write(t.name, {&byte, 1});
  writer.commit();
  EXPECT_EQ(SafetensorsFile(folder.path() + "/f").at("t29999").begin, 29999u);
}

TEST(Safetensors, AnUnfinishedFileLeavesNothing) {
  const TemporaryDirectory folder;
  const std::string path = folder.path() + "/f";
  write_file_atomic(path, "old");
  { SafetensorsWriter writer(path, {{"a", FileDtype::kF32, {2}}}); }
  EXPECT_EQ(read_file(path), "old");
}

TEST(SafetensorsDeathTest, WritingOutOfOrderIsABug) {
  const TemporaryDirectory folder;
  SafetensorsWriter writer(folder.path() + "/f", {{"a", FileDtype::kU8, {1}}, {"b", FileDtype::kU8, {1}}});
  const std::byte byte{7};
  EXPECT_DEATH(writer.write("b", {&byte, 1}), "write of 'b' where 'a' comes next");
  EXPECT_DEATH(writer.commit(), "commit before 'a' is complete");
}

// One to four random edits: a byte, a digit, a cut, a copy of a piece to elsewhere.
void mutate(std::string& file, std::mt19937_64& random) {
  for (uint64_t edits = 1 + random() % 4; edits > 0; --edits) {
    if (file.empty()) return;
    const size_t at = random() % std::min<size_t>(file.size(), random() % 2 == 0 ? 12 : file.size());
    switch (random() % 6) {
      case 0:
        file[at] = static_cast<char>(random());
        break;
      case 1:
        file[at] = "0123456789{}[],:\"-.e "[random() % 21];
        break;
      case 2:
        file.resize(at);
        break;
      case 3:
        file.erase(at, random() % 8);
        break;
      case 4:
        file.insert(at, file.substr(random() % file.size(), random() % 40));
        break;
      default:
        file[at] = static_cast<char>(file[at] + 1);
    }
  }
}

TEST(SafetensorsFuzz, MutatedFilesAreReadConsistentlyOrRefused) {
  const std::string valid = with_header(
      "{\"__metadata__\":{\"k\":\"v\"}," + entry("a", "[0,8]") + "," + entry("bb", "[8,32]", "[3,2,1]") +
          "," + entry("c", "[32,32]", "[0]") + "," + entry("d", "[32,34]", "[]", "\"BF16\"") + "}",
      34);
  ASSERT_EQ(error_of(valid), "(no error)");
  std::mt19937_64 random(20240601);
  int accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string file = valid;
    mutate(file, random);
    try {
      const SafetensorsHeader header = parse(file);
      ++accepted;
      uint64_t total = 0;
      for (const SafetensorsEntry& e : header.entries) {
        ASSERT_LE(e.end, file.size() - header.data_begin);
        ASSERT_EQ(dense_bytes(e.dtype, e.shape), e.end - e.begin);
        total += e.end - e.begin;
      }
      ASSERT_EQ(total, file.size() - header.data_begin);
    } catch (const Error& e) {
      ASSERT_EQ(e.kind(), ErrorKind::kBadInput);
    }
  }
  EXPECT_GT(accepted, 100);
  EXPECT_LT(accepted, 10000);
}

}  // namespace
}  // namespace phalanx
