#include "phalanx/data/mock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string_view>
#include <vector>

#include "phalanx/base/error.h"
#include "phalanx/base/philox.h"
#include "phalanx/data/data_config.h"

namespace phalanx {
namespace {

using testing::HasSubstr;

TEST(Mock, EveryElementIsItsPhiloxWord) {
  for (const int64_t seq_length : {1, 2, 6, 7, 16}) {
    const MockDataset set(
        {.num_samples = 5, .seq_length = seq_length, .vocab_size = 257, .seed = 99, .mask_fraction = 0.4});
    std::vector<int64_t> tokens(static_cast<size_t>(seq_length) + 1);
    std::vector<uint8_t> mask(static_cast<size_t>(seq_length));
    for (int64_t k = 0; k < 5; ++k) {
      set.read(k, tokens, mask);
      for (size_t p = 0; p < tokens.size(); ++p) {
        const uint64_t element = static_cast<uint64_t>(k) * tokens.size() + p;
        ASSERT_EQ(tokens[p], philox_u32({.seed = 99, .purpose = RandomPurpose::kMockData}, element) % 257);
        if (p == 0) continue;
        const uint32_t word = philox_u32({.seed = 99, .purpose = RandomPurpose::kMockMask}, element);
        ASSERT_EQ(mask[p - 1], word >= dropout_threshold(0.4) ? 1 : 0);
      }
    }
  }
}

// Frozen: every run with --mock-data ever compared depends on these.
TEST(Mock, KnownTokens) {
  const MockDataset set(
      {.num_samples = 2, .seq_length = 4, .vocab_size = 1000, .seed = 1234, .mask_fraction = 0.5});
  std::vector<int64_t> tokens(5);
  std::vector<uint8_t> mask(4);
  set.read(1, tokens, mask);
  EXPECT_THAT(tokens, testing::ElementsAre(529, 813, 913, 420, 587));
  EXPECT_THAT(mask, testing::ElementsAre(1, 0, 0, 1));
}

TEST(Mock, TheMaskedShareIsTheFraction) {
  const MockDataset set({.num_samples = 100, .seq_length = 1000, .vocab_size = 8, .mask_fraction = 0.25});
  const MockDataset none({.num_samples = 100, .seq_length = 1000, .vocab_size = 8});
  std::vector<int64_t> tokens(1001);
  std::vector<uint8_t> mask(1000);
  int64_t masked = 0, masked_none = 0;
  std::vector<int64_t> counts(8);
  for (int64_t k = 0; k < 100; ++k) {
    none.read(k, tokens, mask);
    for (const uint8_t m : mask) masked_none += m == 0;
    set.read(k, tokens, mask);
    for (const uint8_t m : mask) masked += m == 0;
    for (const int64_t t : tokens) ++counts.at(static_cast<size_t>(t));
  }
  EXPECT_EQ(masked_none, 0);
  EXPECT_NEAR(static_cast<double>(masked), 25000, 600);
  for (const int64_t c : counts) EXPECT_NEAR(static_cast<double>(c), 100100 / 8.0, 500);
}

TEST(Mock, Errors) {
  const auto error_of = [](const MockOptions& options) -> std::string {
    try {
      MockDataset{options};
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kBadInput);
      return e.what();
    }
    return "(no error)";
  };
  EXPECT_THAT(error_of({.num_samples = 1, .vocab_size = 5}),
              HasSubstr("mock data: got seq_length 0; needed a positive number"));
  EXPECT_THAT(error_of({.num_samples = 1, .seq_length = 4}), HasSubstr("got vocab_size 0"));
  EXPECT_THAT(error_of({.num_samples = 1, .seq_length = 4, .vocab_size = 5, .mask_fraction = 1.0}),
              HasSubstr("got mock_mask_fraction 1; needed a share in [0, 1)"));
  EXPECT_THAT(error_of({.num_samples = int64_t{1} << 49, .seq_length = 4, .vocab_size = 5}),
              HasSubstr("needed at most 2^50 tokens"));
}

struct HelpReader {
  std::vector<std::string> names;

  template <typename T>
  void field(std::string_view name, T&, std::string_view help) {
    names.emplace_back(name);
    EXPECT_GE(help.size(), 8u);
    EXPECT_EQ(help.find('\n'), std::string_view::npos);
  }
};

TEST(DataConfig, FieldsHaveNamesAndOneLineHelp) {
  HelpReader reader;
  DataConfig config;
  config.visit_fields(reader);
  EXPECT_EQ(reader.names, (std::vector<std::string>{"data_path",
                                                    "train_data_path",
                                                    "valid_data_path",
                                                    "test_data_path",
                                                    "data_args_path",
                                                    "per_split_data_args_path",
                                                    "data_cache_path",
                                                    "num_dataset_builder_threads",
                                                    "mid_level_dataset_surplus",
                                                    "split",
                                                    "tokenizer_type",
                                                    "tokenizer_model",
                                                    "vocab_file",
                                                    "merge_file",
                                                    "eod_token",
                                                    "mock_data",
                                                    "mock_mask_fraction",
                                                    "tasks",
                                                    "tasks_fraction",
                                                    "fim_data",
                                                    "fim_rate",
                                                    "fim_spm_rate",
                                                    "fim_split_sample",
                                                    "fim_fragment_rate",
                                                    "fim_no_prefix",
                                                    "fim_prefix_token",
                                                    "fim_middle_token",
                                                    "fim_suffix_token",
                                                    "fim_pad_token",
                                                    "fim_eod_token",
                                                    "prefetch_steps"}));
  EXPECT_EQ(config.split, "969,30,1");
}

}  // namespace
}  // namespace phalanx
