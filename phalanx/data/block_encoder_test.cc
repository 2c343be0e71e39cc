#include "phalanx/data/block_encoder.h"

#include <gmock/gmock.h>

#include "phalanx/data/test_files.h"
#include "phalanx/tokenizer/byte_tokenizer.h"
#include "phalanx/tokenizer/null_tokenizer.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;

TextBlock block_of(const std::string& text) {
  TextBlock block;
  block.text.reserve(text.size() + 1);
  block.text.append(text);
  std::fill_n(block.text.end(), JsonlReader::kPadding, ' ');
  return block;
}

std::vector<int> ids_of(const PackedDocuments& packed) {
  std::vector<int> ids;
  for (size_t i = 0; i < packed.tokens.size(); i += 2)
    ids.push_back(static_cast<int>(packed.tokens[i]) | static_cast<int>(packed.tokens[i + 1]) << 8);
  return ids;
}

EncodedBlock encode(const std::string& text, TextFormat format, EncodeSettings settings) {
  const ByteTokenizer tokenizer;
  settings.dtype = TokenDtype::kUint16;
  BlockEncoder encoder(tokenizer, settings);
  return encoder.encode(block_of(text), format);
}

TEST(BlockEncoder, OneDocumentALine) {
  const EncodedBlock out = encode("{\"text\": \"ab\"}\n\n{\"text\": \"\"}\r\n \t\n{\"text\": \"c\"}",
                                  TextFormat::kJsonLines, {.append_eod = true});
  EXPECT_THAT(ids_of(out.columns[0]), ElementsAre('a', 'b', 256, 'c', 256));
  EXPECT_THAT(out.columns[0].lengths, ElementsAre(3, 2));
  EXPECT_THAT(out.columns[0].documents, ElementsAre(1, 0, 1))
      << "an empty text is a document without a sequence";
  EXPECT_EQ(out.lines, 5);
  EXPECT_EQ(out.blank, 2);
  EXPECT_EQ(out.text_bytes[0], 3);
}

TEST(BlockEncoder, AListOfStringsIsOneDocumentOfSeveralSequences) {
  const EncodedBlock out = encode("{\"text\": [\"ab\", \"\", \"c\"]}\n{\"text\": []}\n{\"text\": \"d\"}\n",
                                  TextFormat::kJsonLines, {.append_eod = true});
  EXPECT_THAT(ids_of(out.columns[0]), ElementsAre('a', 'b', 'c', 256, 'd', 256));
  EXPECT_THAT(out.columns[0].lengths, ElementsAre(2, 2, 2));
  EXPECT_THAT(out.columns[0].documents, ElementsAre(2, 0, 1));
}

TEST(BlockEncoder, ALineIsRejectedInAllColumnsOrNone) {
  const EncodedBlock out = encode(
      "{\"a\": \"1\", \"b\": \"22\"}\n{\"a\": \"3\"}\nx\n{\"a\": \"4\", \"b\": 5}\n{\"b\": \"6\", \"a\": \"\"}\n",
      TextFormat::kJsonLines, {.keys = {"a", "b"}});
  EXPECT_THAT(ids_of(out.columns[0]), ElementsAre('1'));
  EXPECT_THAT(ids_of(out.columns[1]), ElementsAre('2', '2', '6'));
  EXPECT_THAT(out.columns[0].documents, ElementsAre(1, 0));
  EXPECT_THAT(out.columns[1].documents, ElementsAre(1, 1));
  EXPECT_THAT(out.text_bytes, ElementsAre(1, 3));
  ASSERT_EQ(out.first_rejected.size(), 3u);
  EXPECT_EQ(out.first_rejected[0].line, 2);
  EXPECT_EQ(out.first_rejected[0].rejection.reason, RejectReason::kMissingKey);
  EXPECT_EQ(out.first_rejected[1].line, 3);
  EXPECT_EQ(out.first_rejected[1].rejection.reason, RejectReason::kBrokenJson);
  EXPECT_EQ(out.first_rejected[2].rejection.reason, RejectReason::kNotText);
}

TEST(BlockEncoder, RepairedTextIsCounted) {
  EncodedBlock out = encode("{\"text\": \"\xFF\"}\n{\"text\": \"a\"}\n", TextFormat::kJsonLines, {});
  EXPECT_THAT(ids_of(out.columns[0]), ElementsAre(0xEF, 0xBF, 0xBD, 'a'));
  EXPECT_EQ(out.repaired, 1);
  out = encode("a\xC3", TextFormat::kDocument, {});
  EXPECT_THAT(ids_of(out.columns[0]), ElementsAre('a', 0xEF, 0xBF, 0xBD));
  EXPECT_EQ(out.repaired, 1);
}

TEST(BlockEncoder, ADocumentFileIsOneDocument) {
  EncodedBlock out = encode("a\n{\"text\"\n", TextFormat::kDocument, {.append_eod = true});
  EXPECT_EQ(out.columns[0].lengths, std::vector<int32_t>{11});
  EXPECT_EQ(out.lines, 1);
  out = encode("", TextFormat::kDocument, {.append_eod = true});
  EXPECT_THAT(out.columns[0].documents, ElementsAre(0));
  out = encode(std::string("a\0b", 3), TextFormat::kDocument, {});
  EXPECT_EQ(out.first_rejected[0].rejection.reason, RejectReason::kNulByte);
  EXPECT_THAT(out.first_rejected[0].rejection.detail, HasSubstr("position 1"));
}

TEST(BlockEncoder, LongLinesAreRejected) {
  const EncodedBlock out = encode("{\"text\": \"0123456789\"}\n{\"text\": \"a\"}\n", TextFormat::kJsonLines,
                                  {.max_document_bytes = 20});
  EXPECT_THAT(ids_of(out.columns[0]), ElementsAre('a'));
  EXPECT_EQ(out.first_rejected[0].rejection.reason, RejectReason::kTooLong);
  EXPECT_EQ(out.first_rejected[0].rejection.detail, "22 bytes");
  const ByteTokenizer tokenizer;
  BlockEncoder encoder(tokenizer, {});
  TextBlock dropped;
  dropped.too_long = true;
  dropped.unpacked = 12345;
  const EncodedBlock empty = encoder.encode(dropped, TextFormat::kJsonLines);
  EXPECT_EQ(empty.lines, 1);
  EXPECT_EQ(empty.first_rejected[0].rejection.detail, "12345 bytes");
}

TEST(BlockEncoder, TextThatTheTokenizerRefusesIsRejected) {
  const NullTokenizer tokenizer(100);
  BlockEncoder encoder(tokenizer, {.append_eod = true, .dtype = TokenDtype::kUint16});
  const EncodedBlock out = encoder.encode(
      block_of("{\"text\": \"1 2\"}\n{\"text\": \"3 x\"}\n{\"text\": \"99\"}\n"), TextFormat::kJsonLines);
  EXPECT_THAT(ids_of(out.columns[0]), ElementsAre(1, 2, 99));
  EXPECT_THAT(out.columns[0].documents, ElementsAre(1));
  EXPECT_EQ(out.rejected[static_cast<size_t>(RejectReason::kNotEncodable)], 2);
  EXPECT_THAT(out.first_rejected[0].rejection.detail, HasSubstr("'x'"));
}

// A tokenizer whose ids do not fit is no fault of a line.
TEST(BlockEncoder, IdsBeyondTheWidthStopTheJob) {
  const NullTokenizer tokenizer(70000);
  BlockEncoder encoder(tokenizer, {.dtype = TokenDtype::kUint16});
  EXPECT_THAT(error_of([&] { encoder.encode(block_of("{\"text\": \"69000\"}"), TextFormat::kJsonLines); }),
              HasSubstr("token id 69000; needed 0 to 65535 for uint16"));
}

}  // namespace
}  // namespace phalanx
