#include "phalanx/data/text_source.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <filesystem>

#include "phalanx/data/test_files.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using testing::put_file;

std::vector<std::string> names(const std::vector<TextFile>& files, const std::string& folder) {
  std::vector<std::string> out;
  for (const TextFile& file : files) out.push_back(file.path.substr(folder.size() + 1));
  return out;
}

TEST(TextSource, FoldersAreWalkedSortedWithoutHiddenFiles) {
  const TemporaryDirectory folder;
  const std::string& root = folder.path();
  for (const char* path : {"/b", "/a/x", "/.git"}) make_directories(root + path);
  for (const char* file : {"/b/1.txt", "/a/x/2.txt", "/a/3.txt", "/.git/4.txt", "/a/.5.txt", "/0.txt"})
    put_file(root + file, "text");
  EXPECT_THAT(names(list_text_files({root}, TextFormat::kAuto, {}), root),
              ElementsAre("0.txt", "a/3.txt", "a/x/2.txt", "b/1.txt"));
  EXPECT_THAT(
      names(list_text_files({root + "/b", root + "/0.txt", root + "/a"}, TextFormat::kAuto, {}), root),
      ElementsAre("b/1.txt", "0.txt", "a/3.txt", "a/x/2.txt"));
  EXPECT_THAT(names(list_text_files({root}, TextFormat::kAuto,
                                    {normal_path(root + "/a"), normal_path(root + "/0.txt")}),
                    root),
              ElementsAre("b/1.txt"));
  EXPECT_THAT(names(list_text_files({root + "/*/[13].txt"}, TextFormat::kAuto, {}), root),
              ElementsAre("a/3.txt", "b/1.txt"));
}

TEST(TextSource, APatternThatIsAFilesNameIsThatFile) {
  const TemporaryDirectory folder;
  put_file(folder.path() + "/a*.txt", "text");
  put_file(folder.path() + "/ab.txt", "text");
  EXPECT_THAT(names(list_text_files({folder.path() + "/a*.txt"}, TextFormat::kAuto, {}), folder.path()),
              ElementsAre("a*.txt"));
}

TEST(TextSource, FormatByNameThenByContent) {
  const TemporaryDirectory folder;
  const std::string object = "\n  {\"text\": \"x\", \"n\": 1e999}\n{\"text\"";
  struct Case {
    std::string name;
    std::string bytes;
    TextFormat format;
  };
  const std::vector<Case> cases = {
      {"a.jsonl", "no json", TextFormat::kJsonLines},
      {"a.JSON", "", TextFormat::kJsonLines},
      {"a.ndjson.gz", testing::gzip(object), TextFormat::kJsonLines},
      {"a.txt", object, TextFormat::kDocument},
      {"a.md.zst", testing::zstd(object), TextFormat::kDocument},
      {"a", object, TextFormat::kJsonLines},
      {"b.part1", testing::gzip(object), TextFormat::kJsonLines},
      {"c.c", "{ int x; }\n", TextFormat::kDocument},
      {"d", "", TextFormat::kDocument},
      {"e", "[1]\n", TextFormat::kDocument},
      {"f", "{\"text\":\n 1}\n", TextFormat::kDocument},
      {"g", "{\"text\": \"" + std::string(2 << 20, 'x') + "\"}", TextFormat::kJsonLines},
      {"h", "{\"text\": \"" + std::string(2000, 'x') + "\"}", TextFormat::kJsonLines}};
  for (const Case& c : cases) {
    const std::string path = folder.path() + "/" + c.name;
    put_file(path, c.bytes);
    const std::vector<TextFile> files = list_text_files({path}, TextFormat::kAuto, {});
    ASSERT_EQ(files.size(), 1u);
    EXPECT_EQ(files[0].format, c.format) << c.name;
    EXPECT_EQ(files[0].size, static_cast<int64_t>(c.bytes.size()));
    EXPECT_EQ(list_text_files({path}, TextFormat::kDocument, {})[0].format, TextFormat::kDocument);
  }
}

TEST(TextSource, MissingAndEmptyInputsAreNamed) {
  const TemporaryDirectory folder;
  const auto list = [&](const std::string& input) { list_text_files({input}, TextFormat::kAuto, {}); };
  EXPECT_THAT(error_of([&] { list(folder.path() + "/no.txt"); }, ErrorKind::kIo), HasSubstr("/no.txt"));
  EXPECT_THAT(error_of([&] { list(folder.path() + "/*.gz"); }, ErrorKind::kIo),
              HasSubstr("no file of that pattern"));
  EXPECT_THAT(error_of([&] { list(folder.path()); }), HasSubstr("a folder without files"));
  ASSERT_EQ(::mkfifo((folder.path() + "/pipe").c_str(), 0600), 0);
  EXPECT_THAT(error_of([&] { list(folder.path() + "/pipe"); }), HasSubstr("neither a file nor a folder"));
}

}  // namespace
}  // namespace phalanx
