#include "phalanx/data/text_blocks.h"

#include <gmock/gmock.h>

#include <random>

#include "phalanx/data/test_files.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;
using testing::put_file;

// The texts of all blocks, "!N" for one of N bytes that was too long; checks what must hold for each.
std::vector<std::string> blocks_of(const std::string& path, TextFormat format, const BlockLimits& limits) {
  TextFile file = stat_text_file(path);
  file.format = format;
  TextBlocks blocks(file, limits);
  std::vector<std::string> out;
  uint64_t consumed = 0;
  while (true) {
    const TextBlock block = blocks.next();
    EXPECT_GE(block.consumed, consumed);
    consumed = block.consumed;
    if (block.too_long) {
      EXPECT_EQ(block.text.size(), 0u);
      out.push_back("!" + std::to_string(block.unpacked));
    } else if (block.text.size() > 0) {
      EXPECT_GE(block.unpacked, block.text.size());
      out.push_back(std::string(block.text.text()));
    }
    if (block.last) break;
  }
  EXPECT_EQ(consumed, static_cast<uint64_t>(file.size));
  return out;
}

class TextBlocksTest : public ::testing::Test {
 protected:
  std::vector<std::string> lines(const std::string& text, size_t block, size_t most) {
    put_file(path_, text);
    return blocks_of(path_, TextFormat::kJsonLines, {.block_bytes = block, .max_bytes = most});
  }
  std::vector<std::string> document(const std::string& text, size_t block, size_t most) {
    put_file(path_, text);
    return blocks_of(path_, TextFormat::kDocument, {.block_bytes = block, .max_bytes = most});
  }
  TemporaryDirectory folder_;
  std::string path_ = folder_.path() + "/x";
};

TEST_F(TextBlocksTest, WholeLinesOnly) {
  EXPECT_THAT(lines("ab\ncd\nef\n", 7, 100), ElementsAre("ab\ncd\n", "ef\n"));
  EXPECT_THAT(lines("ab\ncd\nef", 6, 100), ElementsAre("ab\ncd\n", "ef"));
  EXPECT_THAT(lines("ab\ncd\nef", 1, 100), ElementsAre("ab\n", "cd\n", "ef"));
  EXPECT_THAT(lines("", 8, 100), ElementsAre());
  EXPECT_THAT(lines("\n", 1, 100), ElementsAre("\n"));
  EXPECT_THAT(lines("a", 1, 100), ElementsAre("a"));
}

TEST_F(TextBlocksTest, ALongLineMakesItsBlockLarger) {
  const std::string longer(300, 'x');
  EXPECT_THAT(lines("a\n" + longer + "\nb\n", 4, 1000), ElementsAre("a\n", longer + "\nb\n"));
  EXPECT_THAT(lines(longer, 4, 1000), ElementsAre(longer));
}

TEST_F(TextBlocksTest, ALineBeyondTheLimitIsDroppedAndCounted) {
  const std::string longer(1'000'000, 'x');
  EXPECT_THAT(lines("a\n" + longer + "\nb\nc", 4, 100), ElementsAre("a\n", "!1000001", "b\nc"));
  EXPECT_THAT(lines(longer + "\n" + longer, 4, 100), ElementsAre("!1000001", "!1000000"));
  EXPECT_THAT(lines(longer + "\n", 4, 100), ElementsAre("!1000001"));
}

TEST_F(TextBlocksTest, AByteOrderMarkIsNoPartOfTheFirstLine) {
  EXPECT_THAT(lines("\xEF\xBB\xBF{}\n\xEF\xBB\xBF\n", 100, 100), ElementsAre("{}\n\xEF\xBB\xBF\n"));
  EXPECT_THAT(document("\xEF\xBB\xBFx", 100, 100), ElementsAre("\xEF\xBB\xBFx"));
}

TEST_F(TextBlocksTest, ADocumentIsOneBlock) {
  const std::string text(100'000, 'x');
  EXPECT_THAT(document(text, 10, 1'000'000), ElementsAre(text));
  EXPECT_THAT(document(text, 10, 100'000), ElementsAre(text));
  EXPECT_THAT(document(text, 10, 99'999), ElementsAre("!100000"));
  EXPECT_THAT(document("", 10, 100), ElementsAre());
  put_file(path_, testing::gzip(text));
  EXPECT_THAT(blocks_of(path_, TextFormat::kDocument, {}), ElementsAre(text));
}

TEST_F(TextBlocksTest, BlocksTogetherAreTheFile) {
  std::mt19937 random(5);
  for (int round = 0; round < 100; ++round) {
    std::string text;
    while (random() % 20 != 0) text += std::string(random() % (round % 7 == 0 ? 900 : 30), 'a') + "\n";
    if (round % 2 == 0) text += "tail";
    const size_t block = 1 + random() % 200;
    std::string joined;
    for (const std::string& part : lines(text, block, 5000)) {
      EXPECT_TRUE(part.ends_with('\n') || joined.size() + part.size() == text.size());
      joined += part;
    }
    EXPECT_EQ(joined, text);
  }
}

}  // namespace
}  // namespace phalanx
