#include "phalanx/data/gpt_dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/data/indexed_writer.h"

namespace phalanx {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Sequence i holds the tokens 100 i, 100 i + 1, ...
class GptDatasetTest : public testing::Test {
 protected:
  std::shared_ptr<IndexedDataset> write(const std::vector<int>& lengths) {
    const std::string prefix = folder_.path() + "/c";
    IndexedDatasetWriter writer(prefix, TokenDtype::kUint16);
    for (size_t i = 0; i < lengths.size(); ++i) {
      std::vector<int32_t> tokens;
      for (int t = 0; t < lengths[i]; ++t) tokens.push_back(static_cast<int32_t>(100 * i) + t);
      writer.add_sequence(tokens);
      writer.end_document();
    }
    writer.commit();
    return std::make_shared<IndexedDataset>(prefix);
  }

  TemporaryDirectory folder_;
};

// The documents in their shuffled order, one behind the other.
std::vector<int64_t> stream_of(const IndexedDataset& data, const GptDataset& set,
                               std::vector<int64_t>* begins) {
  std::vector<int64_t> stream;
  for (const int32_t id : set.index().documents) {
    std::vector<int64_t> tokens(static_cast<size_t>(data.length(id)));
    data.read(id, 0, tokens);
    if (!tokens.empty()) begins->push_back(static_cast<int64_t>(stream.size()));
    stream.insert(stream.end(), tokens.begin(), tokens.end());
  }
  return stream;
}

TEST_F(GptDatasetTest, SamplesAreWindowsOfTheShuffledDocuments) {
  const auto data = write({7, 3, 12, 1, 5, 0, 9, 2});
  int samples = 0;
  for (int64_t seq_length = 1; seq_length <= 11; ++seq_length) {
    for (const int64_t num_samples : {1, 3, 10, 50}) {
      const GptDataset set(data, {.sequences = {1, 7}, .num_samples = num_samples, .seq_length = seq_length});
      std::vector<int64_t> begins;
      const std::vector<int64_t> stream = stream_of(*data, set, &begins);
      std::vector<int64_t> tokens(static_cast<size_t>(seq_length) + 1), starts;
      std::vector<uint8_t> mask(static_cast<size_t>(seq_length));
      for (int64_t k = 0; k < set.num_samples(); ++k, ++samples) {
        set.read(k, tokens, mask, &starts);
        const int64_t first = set.index().shuffle[static_cast<size_t>(k)] * seq_length;
        std::vector<int64_t> expected(stream.begin() + first, stream.begin() + first + seq_length + 1);
        ASSERT_EQ(tokens, expected);
        ASSERT_EQ(mask, std::vector<uint8_t>(mask.size(), 1));
        std::vector<int64_t> expected_starts = {0};
        for (const int64_t b : begins) {
          if (b > first && b <= first + seq_length) expected_starts.push_back(b - first);
        }
        ASSERT_EQ(starts, expected_starts);
      }
    }
  }
  EXPECT_GT(samples, 900);
}

// From the golden index of one epoch (documents 4 0 1 2 3, first sample 5).
TEST_F(GptDatasetTest, FirstSamples) {
  const auto data = write({7, 3, 12, 1, 5});
  const GptDataset set(data, {.sequences = {0, 5}, .num_samples = 5, .seq_length = 4});
  std::vector<int64_t> tokens(5), starts;
  std::vector<uint8_t> mask(4);
  set.read(0, tokens, mask, &starts);
  EXPECT_THAT(tokens, ElementsAre(205, 206, 207, 208, 209));
  set.read(1, tokens, mask, &starts);  // row 2: (1, 3) to (2, 0)
  EXPECT_THAT(tokens, ElementsAre(3, 4, 5, 6, 100));
  EXPECT_THAT(starts, ElementsAre(0, 4));
  EXPECT_EQ(set.num_samples(), 6);
  EXPECT_EQ(set.seq_length(), 4);
}

TEST_F(GptDatasetTest, AnotherSeedAnotherOrder) {
  const auto data = write(std::vector<int>(50, 9));
  const GptDataset a(data, {.sequences = {0, 50}, .seq_length = 4, .seed = 1});
  const GptDataset b(data, {.sequences = {0, 50}, .seq_length = 4, .seed = 2});
  const GptDataset c(data, {.sequences = {0, 50}, .seq_length = 4, .seed = 1});
  const auto documents = [](const GptDataset& set) {
    return std::vector<int32_t>(set.index().documents.begin(), set.index().documents.end());
  };
  EXPECT_NE(documents(a), documents(b));
  EXPECT_EQ(documents(a), documents(c));
  EXPECT_TRUE(std::equal(a.index().shuffle.begin(), a.index().shuffle.end(), c.index().shuffle.begin()));
}

TEST_F(GptDatasetTest, AKeptPartialSampleIsPaddedAndMasked) {
  const auto data = write({7});
  const GptDataset set(data, {.sequences = {0, 1}, .seq_length = 4, .drop_last_partial = false});
  ASSERT_EQ(set.num_samples(), 2);
  std::vector<int64_t> tokens(5);
  std::vector<uint8_t> mask(4);
  const bool last_first = set.index().shuffle[0] == 1;
  set.read(last_first ? 0 : 1, tokens, mask);
  EXPECT_THAT(tokens, ElementsAre(4, 5, 6, 0, 0));
  EXPECT_THAT(mask, ElementsAre(1, 1, 0, 0));
  set.read(last_first ? 1 : 0, tokens, mask);
  EXPECT_THAT(mask, ElementsAre(1, 1, 1, 1));
}

TEST_F(GptDatasetTest, ATokenOutsideTheVocabulary) {
  const auto data = write({4, 4});
  const GptDataset set(data, {.sequences = {0, 2}, .seq_length = 7, .vocab_size = 103});
  std::vector<int64_t> tokens(8);
  std::vector<uint8_t> mask(7);
  try {
    set.read(0, tokens, mask);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kBadInput);
    EXPECT_THAT(
        e.what(),
        HasSubstr("/c.bin: sequence 1, token 3: got token id 103; needed 0 to 102, the vocabulary of the "
                  "model. Fix: set model.vocab_size"));
  }
}

TEST_F(GptDatasetTest, ASplitThatIsTooSmallNamesItself) {
  const auto data = write({4, 4});
  try {
    GptDataset(data, {.sequences = {1, 2}, .seq_length = 4});
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("/c, sequences 1 to 2: got 4 tokens; needed at least 5 for one sample"));
  }
}

}  // namespace
}  // namespace phalanx
