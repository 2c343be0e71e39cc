#include "phalanx/data/corpus_report.h"

#include <gmock/gmock.h>

#include "phalanx/data/indexed_writer.h"
#include "phalanx/data/test_files.h"
#include "phalanx/tokenizer/byte_tokenizer.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;

class CorpusReport : public ::testing::Test {
 protected:
  // Documents of "x" of these lengths; a length above 100 is written as two sequences.
  IndexedDataset make(const std::vector<int>& lengths) {
    IndexedDatasetWriter writer(folder_.path() + "/c", TokenDtype::kUint16);
    for (const int length : lengths) {
      const std::vector<int32_t> half(static_cast<size_t>(length / 2), 'x');
      const std::vector<int32_t> rest(static_cast<size_t>(length - length / 2), 'y');
      if (length > 100) writer.add_sequence(std::span<const int32_t>(half));
      std::vector<int32_t> all = half;
      all.insert(all.end(), rest.begin(), rest.end());
      if (length > 0) writer.add_sequence(std::span<const int32_t>(length > 100 ? rest : all));
      writer.end_document();
    }
    writer.commit();
    return IndexedDataset(folder_.path() + "/c");
  }
  TemporaryDirectory folder_;
};

TEST_F(CorpusReport, LengthsAndHistogram) {
  const CorpusLengths lengths = measure_lengths(make({3, 0, 2, 1, 1000, 4, 0, 7}));
  EXPECT_EQ(lengths.shortest, 0);
  EXPECT_EQ(lengths.longest, 1000);
  EXPECT_EQ(lengths.median, 2);
  EXPECT_DOUBLE_EQ(lengths.mean, 1017.0 / 8);
  EXPECT_EQ(lengths.empty_documents, 2);
  std::vector<std::string> buckets;
  for (const LengthBucket& b : lengths.histogram) {
    buckets.push_back(std::to_string(b.low) + "-" + std::to_string(b.high) + ":" +
                      std::to_string(b.documents) + "/" + std::to_string(b.tokens));
  }
  EXPECT_THAT(buckets,
              ElementsAre("0-0:2/0", "1-1:1/1", "2-3:2/5", "4-7:2/11", "8-15:0/0", "16-31:0/0", "32-63:0/0",
                          "64-127:0/0", "128-255:0/0", "256-511:0/0", "512-1023:1/1000"));
  const std::string text = histogram_text(lengths);
  EXPECT_THAT(text, HasSubstr("2-3            2  25.0%  " + std::string(40, '#') + "\n"));
  EXPECT_THAT(text, HasSubstr("512-1023            1  12.5%  " + std::string(20, '#') + "\n"));
  EXPECT_THAT(text, HasSubstr("8-15            0   0.0%  \n"));
}

TEST_F(CorpusReport, DocumentsAsTextAcrossSequences) {
  const IndexedDataset data = make({4, 0, 200});
  const ByteTokenizer tokenizer;
  EXPECT_EQ(document_text(data, 0, tokenizer, 64), "xxyy");
  EXPECT_EQ(document_text(data, 0, tokenizer, 3), "xxy...");
  EXPECT_EQ(document_text(data, 1, tokenizer, 64), "");
  EXPECT_EQ(document_text(data, 2, tokenizer, -1), std::string(100, 'x') + std::string(100, 'y'));
  EXPECT_EQ(document_tokens(data, 2, 101).size(), 101u);
  EXPECT_EQ(document_tokens(data, 2, 101).back(), 'y');
}

TEST_F(CorpusReport, PastTheEndAndForeignIdsAreErrors) {
  const IndexedDataset data = make({4});
  EXPECT_THAT(error_of([&] { document_tokens(data, 1, 1); }), HasSubstr("document 1; needed one below 1"));
  IndexedDatasetWriter writer(folder_.path() + "/d", TokenDtype::kUint16);
  const std::vector<int32_t> ids = {5, 300};
  writer.add_sequence(std::span<const int32_t>(ids));
  writer.end_document();
  writer.commit();
  EXPECT_THAT(error_of([&] { document_text(IndexedDataset(folder_.path() + "/d"), 0, ByteTokenizer(), 9); }),
              HasSubstr("token id 300; needed ids below 257"));
}

}  // namespace
}  // namespace phalanx
