#include "phalanx/data/byte_stream.h"

#include <gmock/gmock.h>

#include <random>

#include "phalanx/data/test_files.h"

namespace phalanx {
namespace {

using testing::error_of;
using testing::gzip;
using ::testing::HasSubstr;
using testing::put_file;
using testing::zstd;

// Larger than any buffer, and not all the same.
std::string long_text() {
  std::mt19937 random(7);
  std::string text;
  while (text.size() < 1'500'000) text += "line " + std::to_string(random()) + "\n";
  return text;
}

std::string read_all(const std::string& path, size_t step) {
  const auto stream = open_byte_stream(path);
  std::string out;
  std::string chunk(step, '\0');
  while (true) {
    const size_t n = stream->read(chunk.data(), step);
    out.append(chunk, 0, n);
    if (n < step) break;
  }
  EXPECT_EQ(stream->read(chunk.data(), step), 0u) << "the end stays the end";
  EXPECT_EQ(stream->consumed(), read_file(path).size());
  return out;
}

TEST(ByteStream, UnpacksByContentWhateverTheName) {
  const TemporaryDirectory folder;
  const std::string path = folder.path() + "/plain.txt";
  for (const std::string& text : {long_text(), std::string(3'000'000, 'a')})
    for (const std::string& bytes : {text, gzip(text), zstd(text)}) {
      put_file(path, bytes);
      for (const size_t step : {size_t{1} << 12, size_t{1} << 20, size_t{999'983}})
        EXPECT_TRUE(read_all(path, step) == text) << bytes.size() << " " << step;
    }
}

TEST(ByteStream, SeveralMembersAndFramesAreOneText) {
  const TemporaryDirectory folder;
  const std::string path = folder.path() + "/x";
  put_file(path, gzip("one") + gzip("") + gzip("two") + std::string(700, '\0'));
  EXPECT_EQ(read_all(path, 100), "onetwo");
  const std::string skippable("\x53\x2A\x4D\x18\x03\x00\x00\x00xyz", 11);
  put_file(path, skippable + zstd("one") + zstd("") + skippable + zstd("two"));
  EXPECT_EQ(read_all(path, 100), "onetwo");
}

TEST(ByteStream, SmallAndEmptyFiles) {
  const TemporaryDirectory folder;
  const std::string path = folder.path() + "/x";
  for (const std::string& text : {std::string(), std::string("a"), std::string("abc"), std::string("abcd")}) {
    for (const std::string& bytes : {text, gzip(text), zstd(text)}) {
      put_file(path, bytes);
      EXPECT_EQ(read_all(path, 3), text);
      EXPECT_EQ(read_all(path, 1), text);
    }
  }
}

TEST(ByteStream, CutAndDamagedFilesAreErrors) {
  const TemporaryDirectory folder;
  const std::string path = folder.path() + "/x.gz";
  const std::string text = long_text();
  const std::string gz = gzip(text);
  for (const size_t size : {size_t{11}, gz.size() / 2, gz.size() - 1}) {
    put_file(path, gz.substr(0, size));
    const std::string what = error_of([&] { read_all(path, 1 << 16); });
    EXPECT_THAT(what, HasSubstr("x.gz"));
    EXPECT_THAT(what, HasSubstr("inside gzip data"));
  }
  const std::string zst = zstd(text);
  for (const size_t size : {size_t{5}, zst.size() / 2, zst.size() - 1}) {
    put_file(path, zst.substr(0, size));
    EXPECT_THAT(error_of([&] { read_all(path, 1 << 16); }), HasSubstr("inside a zstd frame"));
  }
  std::string flipped = gz;
  flipped[gz.size() - 6] ^= 1;  // the checksum
  put_file(path, flipped);
  EXPECT_THAT(error_of([&] { read_all(path, 1 << 16); }), HasSubstr("incorrect data check"));
  put_file(path, gz + "rubbish");
  EXPECT_THAT(error_of([&] { read_all(path, 1 << 16); }), HasSubstr("incorrect header check"));
  put_file(path, zst + "rubbish!");
  EXPECT_THAT(error_of([&] { read_all(path, 1 << 16); }), HasSubstr("zstd"));
}

TEST(ByteStream, MissingFilesAndFoldersAreIoErrors) {
  const TemporaryDirectory folder;
  EXPECT_THAT(error_of([&] { open_byte_stream(folder.path() + "/no"); }, ErrorKind::kIo), HasSubstr("/no"));
  EXPECT_THAT(error_of([&] { open_byte_stream(folder.path()); }, ErrorKind::kIo),
              HasSubstr("Is a directory"));
}

TEST(ByteStreamFuzz, DamagedBytesNeverCrash) {
  const TemporaryDirectory folder;
  const std::string path = folder.path() + "/x";
  std::mt19937 random(3);
  const std::string text = long_text().substr(0, 5000);
  int errors = 0;
  for (int round = 0; round < 900; ++round) {
    std::string bytes = round % 2 == 0 ? gzip(text) : zstd(text);
    for (int change = 0; change < 3; ++change) bytes[random() % bytes.size()] = static_cast<char>(random());
    if (round % 3 == 0) bytes.resize(random() % bytes.size());
    put_file(path, bytes);
    try {
      const auto stream = open_byte_stream(path);
      char chunk[1024];
      size_t total = 0;
      while (const size_t n = stream->read(chunk, sizeof chunk)) total += n;
      EXPECT_LT(total, 64u << 20);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kBadInput);
      ++errors;
    }
  }
  EXPECT_GT(errors, 300);
}

}  // namespace
}  // namespace phalanx
