#include "phalanx/data/gpt_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "phalanx/base/error.h"
#include "phalanx/base/json.h"
#include "phalanx/data/numpy_random.h"

namespace phalanx {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

using Rows = std::vector<std::pair<int64_t, int32_t>>;

Rows rows_of(const SampleIndex& index) {
  Rows rows;
  for (const SampleRow& row : index) rows.emplace_back(row.position, row.offset);
  return rows;
}

const std::vector<int32_t> kLengths = {7, 3, 12, 1, 5};

TEST(NumpyRandom, ShufflesAsNumpyDoes) {
  NumpyRandomState random(1234);
  std::vector<int32_t> first = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  random.shuffle(std::span(first));
  EXPECT_THAT(first, ElementsAre(7, 2, 9, 1, 0, 8, 4, 5, 6, 3));
  std::vector<uint32_t> second = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};  // the same state goes on
  random.shuffle(std::span(second));
  EXPECT_THAT(second, ElementsAre(7, 3, 5, 1, 4, 8, 0, 2, 6, 9));
}

TEST(NumpyRandom, DrawsByMaskedRejection) {
  EXPECT_EQ(NumpyRandomState(1234).interval(0xffffffff), 822569775u);  // the first output itself
  // Above 32 bits two outputs make a number, the high word first.
  EXPECT_EQ(NumpyRandomState(1234).interval(~uint64_t{0}), uint64_t{822569775} << 32 | 2137449171u);
  NumpyRandomState random(9);
  for (int i = 0; i < 1000; ++i) EXPECT_LE(random.interval(5), 5u);
}

TEST(GptIndex, OneEpoch) {
  const GptIndex index = build_gpt_index(kLengths, 0, {.num_samples = 5, .seq_length = 4}, "x");
  EXPECT_EQ(index.num_epochs, 1);
  EXPECT_FALSE(index.separate_final_epoch);
  EXPECT_THAT(index.documents, ElementsAre(4, 0, 1, 2, 3));
  EXPECT_EQ(rows_of(index.samples), (Rows{{0, 0}, {0, 4}, {1, 3}, {2, 0}, {3, 1}, {3, 5}, {3, 9}}));
  EXPECT_THAT(index.shuffle, ElementsAre(5, 2, 3, 1, 0, 4));
}

TEST(GptIndex, FinalEpochApart) {
  const GptIndex index = build_gpt_index(kLengths, 0, {.num_samples = 15, .seq_length = 4}, "x");
  EXPECT_EQ(index.num_epochs, 3);
  EXPECT_TRUE(index.separate_final_epoch);
  EXPECT_THAT(index.documents, ElementsAre(2, 2, 4, 1, 0, 3, 4, 0, 1, 3, 0, 4, 3, 2, 1));
  EXPECT_EQ(rows_of(index.samples), (Rows{{0, 0},  {0, 4},  {0, 8},  {1, 0},  {1, 4},  {1, 8},  {2, 0},
                                          {2, 4},  {4, 0},  {4, 4},  {6, 0},  {6, 4},  {7, 3},  {8, 0},
                                          {10, 0}, {10, 4}, {11, 1}, {12, 0}, {13, 3}, {13, 7}, {13, 11}}));
  EXPECT_THAT(index.shuffle,
              ElementsAre(7, 11, 2, 3, 1, 9, 5, 4, 0, 8, 6, 10, 12, 19, 17, 14, 18, 16, 13, 15));
}

TEST(GptIndex, FinalEpochTogetherFromEightyPercentOn) {
  const GptIndex index = build_gpt_index(kLengths, 0, {.num_samples = 20, .seq_length = 4}, "x");
  EXPECT_EQ(index.num_epochs, 3);
  EXPECT_FALSE(index.separate_final_epoch);
  EXPECT_THAT(index.documents, ElementsAre(3, 1, 0, 2, 4, 2, 0, 2, 1, 4, 3, 4, 0, 1, 3));
  EXPECT_THAT(index.shuffle,
              ElementsAre(7, 10, 4, 1, 12, 8, 3, 17, 14, 13, 18, 11, 0, 2, 6, 15, 9, 19, 5, 16));
}

TEST(SampleIndex, VectorsOfThePeer) {
  const std::vector<int32_t> documents = {2, 0, 4, 1, 3, 2, 0, 4, 1, 3};
  const auto rows = [&](int64_t seq_length, int64_t extra, bool drop) {
    return rows_of(
        build_sample_index(kLengths, 0, documents, 56,
                           {.seq_length = seq_length, .extra_tokens = extra, .drop_last_partial = drop}));
  };
  EXPECT_EQ(rows(4, 1, true), (Rows{{0, 0},
                                    {0, 4},
                                    {0, 8},
                                    {1, 0},
                                    {1, 4},
                                    {2, 1},
                                    {3, 0},
                                    {5, 0},
                                    {5, 4},
                                    {5, 8},
                                    {6, 0},
                                    {6, 4},
                                    {7, 1},
                                    {8, 0}}));
  EXPECT_EQ(
      rows(5, 0, true),
      (Rows{
          {0, 0}, {0, 5}, {0, 10}, {1, 3}, {2, 1}, {3, 1}, {5, 2}, {5, 7}, {5, 12}, {6, 5}, {7, 3}, {8, 3}}));
  EXPECT_EQ(rows(9, 0, false), (Rows{{0, 0}, {0, 9}, {1, 6}, {3, 3}, {5, 8}, {6, 5}, {8, 2}, {9, 1}}));
}

// Larger cases, by a hash of the indices that numpy and a plain Python loop gave.
struct Golden {
  int count;
  std::optional<int64_t> num_samples;
  int64_t seq_length;
  int64_t seed;
  int32_t first_id;
  bool drop_last_partial;
  int64_t epochs;
  bool separate;
  size_t samples;
  uint64_t documents_hash, rows_hash, shuffle_hash;
};

class Hash {
 public:
  void add(int64_t value) { value_ = (value_ ^ static_cast<uint64_t>(value)) * 1099511628211u; }
  uint64_t value() const { return value_; }

 private:
  uint64_t value_ = 1469598103934665603u;
};

TEST(GptIndex, HashesOfLargerCases) {
  const std::vector<Golden> cases = {
      {1000, std::nullopt, 64, 1234, 0, true, 1, false, 1951, 0x72792b0e21a9817u, 0x441faaf29204572bu,
       0x1de0dce0035ca808u},
      {1000, 900, 64, 1, 10, true, 1, false, 1951, 0xc6db41bed63da539u, 0x65a00e8d198b0d92u,
       0x4af879e5c5fd97ecu},
      {3000, 5000, 128, 4294967295, 7, true, 2, true, 5858, 0xa0c2a594d76f6f9du, 0xa05f58a6e32a4d87u,
       0xd9aa6e725c52859eu},
      {77, 1000, 512, 42, 0, true, 53, false, 1005, 0xba44ad697687a219u, 0x46c14cf992a1e1f8u,
       0x709044316b687607u},
      {1000, 3600, 64, 1234, 0, true, 2, false, 3902, 0xfc8293a37203fcf7u, 0xfaadde29be282e94u,
       0xa17cc18aa72d19a2u},
      {1000, std::nullopt, 64, 5, 0, false, 1, false, 1952, 0xf483cfdf2ca0765du, 0x16f2c91c0ee5c07fu,
       0xdd3d736068b6a6b3u},
  };
  for (const Golden& c : cases) {
    std::vector<int32_t> lengths;
    for (int i = 0; i < c.count; ++i) lengths.push_back(i * 7919 % 251);
    const GptIndex index = build_gpt_index(lengths, c.first_id,
                                           {.num_samples = c.num_samples,
                                            .seq_length = c.seq_length,
                                            .seed = c.seed,
                                            .drop_last_partial = c.drop_last_partial},
                                           "x");
    EXPECT_EQ(index.num_epochs, c.epochs);
    EXPECT_EQ(index.separate_final_epoch, c.separate);
    EXPECT_EQ(index.shuffle.size(), c.samples);
    Hash documents, rows, shuffle;
    for (const int32_t id : index.documents) documents.add(id);
    for (const auto& [position, offset] : rows_of(index.samples)) {
      rows.add(position);
      rows.add(offset);
    }
    for (const uint32_t j : index.shuffle) shuffle.add(j);
    EXPECT_EQ(documents.value(), c.documents_hash);
    EXPECT_EQ(rows.value(), c.rows_hash);
    EXPECT_EQ(shuffle.value(), c.shuffle_hash);
  }
}

struct Hashes {
  uint64_t documents, rows, shuffle;
  bool operator==(const Hashes&) const = default;
};

Hashes hashes_of(const GptIndex& index) {
  Hash documents, rows, shuffle;
  for (const int32_t id : index.documents) documents.add(id);
  for (const SampleRow& row : index.samples) {
    rows.add(row.position);
    rows.add(row.offset);
  }
  for (const uint32_t j : index.shuffle) shuffle.add(j);
  return {documents.value(), rows.value(), shuffle.value()};
}

TEST(GptIndex, CasesOfAnotherProgram) {
  const Json json = read_json_file(std::string(PHALANX_SOURCE_DIR) + "/tests/fixtures/data/order_cases.json");
  int compared = 0, separate = 0;
  for (const Json& c : json.at("indices")) {
    std::vector<int32_t> lengths;
    for (int i = 0; i < c.at("count").get<int>(); ++i) lengths.push_back(i * 7919 % c.at("scale").get<int>());
    GptIndexOptions options{.seq_length = c.at("seq_length").get<int64_t>(),
                            .seed = c.at("seed").get<int64_t>(),
                            .drop_last_partial = c.at("drop_last_partial").get<bool>()};
    if (!c.at("num_samples").is_null()) options.num_samples = c.at("num_samples").get<int64_t>();
    const auto hash = [&](const char* name) {
      return std::stoull(c.at(name).get<std::string>(), nullptr, 16);
    };
    for (options.threads = 1; options.threads <= 5; ++options.threads) {
      const GptIndex index = build_gpt_index(lengths, 0, options, "x");
      ASSERT_EQ(index.num_epochs, c.at("epochs").get<int64_t>());
      ASSERT_EQ(index.separate_final_epoch, c.at("separate").get<bool>());
      ASSERT_EQ(index.num_samples(), c.at("samples").get<int64_t>());
      ASSERT_EQ(hashes_of(index), (Hashes{hash("documents"), hash("rows"), hash("shuffle")})) << c.dump();
    }
    separate += c.at("separate").get<bool>() ? 1 : 0;
    ++compared;
  }
  EXPECT_EQ(compared, 120);
  EXPECT_GT(separate, 3);
}

// Step by step, as Megatron walks through the documents.
std::vector<SampleRow> walk(const std::vector<int32_t>& lengths, std::span<const int32_t> documents,
                            int64_t num_samples, int64_t seq_length, int64_t extra) {
  std::vector<SampleRow> rows = {{0, 0}};
  size_t at = 0;
  int64_t offset = 0;
  for (int64_t sample = 0; sample < num_samples; ++sample) {
    int64_t remaining = seq_length + extra;
    while (true) {
      const int64_t length = lengths[static_cast<size_t>(documents[at])];
      remaining -= length - offset;
      if (remaining <= 0) offset = length + remaining - extra;
      if (remaining > 0 && at + 1 == documents.size()) offset = length - extra;
      if (remaining <= 0 || at + 1 == documents.size()) break;
      ++at;
      offset = 0;
    }
    rows.push_back({static_cast<uint32_t>(at), static_cast<int32_t>(offset)});
  }
  return rows;
}

// 16777217 tokens are 16777216 in fp32: Megatron, asked, gives 4096 samples and not 4097.
TEST(SampleIndex, AKeptPartialSampleIsCountedInSinglePrecision) {
  const std::vector<int32_t> lengths = {16777218}, documents = {0};
  const SampleIndex index =
      build_sample_index(lengths, 0, documents, 16777218, {.seq_length = 4096, .drop_last_partial = false});
  ASSERT_EQ(index.size(), 4097u);
  EXPECT_EQ(index[4096], (SampleRow{0, 16777216}));
}

TEST(SampleIndex, IsTheWalkWhateverTheLengthsAndThreads) {
  NumpyRandomState random(5);
  int compared = 0;
  for (int round = 0; round < 700; ++round) {
    const uint64_t longest = std::vector<uint64_t>{1, 5, 40, 700}[random.interval(3)];
    std::vector<int32_t> lengths(1 + random.interval(600));
    for (int32_t& length : lengths) length = static_cast<int32_t>(random.interval(longest));
    std::vector<int32_t> documents(lengths.size());
    std::iota(documents.begin(), documents.end(), 0);
    random.shuffle(std::span(documents));
    const int64_t tokens = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
    const GptIndexOptions options{.seq_length = static_cast<int64_t>(1 + random.interval(60)),
                                  .extra_tokens = static_cast<int64_t>(random.interval(1)),
                                  .drop_last_partial = random.interval(1) == 1,
                                  .threads = static_cast<int>(1 + random.interval(6))};
    if (tokens == 0) continue;
    const SampleIndex index = build_sample_index(lengths, 0, documents, tokens, options);
    const std::vector<SampleRow> expected = walk(lengths, documents, static_cast<int64_t>(index.size()) - 1,
                                                 options.seq_length, options.extra_tokens);
    ASSERT_EQ(std::vector<SampleRow>(index.begin(), index.end()), expected)
        << "round " << round << " S " << options.seq_length << " e " << options.extra_tokens << " threads "
        << options.threads;
    ++compared;
  }
  EXPECT_GT(compared, 600);
}

// Hashes that numpy gave: long enough for every mask and several refills of the state.
TEST(NumpyRandom, LongShufflesOnOneState) {
  NumpyRandomState random(4294967295u);
  Hash hash;
  for (const size_t n : {1, 2, 3, 127, 128, 129, 130, 1000, 65535, 65536, 65537, 300001}) {
    std::vector<uint32_t> values(n);
    std::iota(values.begin(), values.end(), 0u);
    random.shuffle(std::span(values));
    for (const uint32_t v : values) hash.add(v);
  }
  EXPECT_EQ(hash.value(), 0x2658ca79ece886b6u);
  EXPECT_EQ(random.next(), 861090428u);
}

// Whatever the numbers: samples are consecutive windows of the concatenated documents, N are there, and each of the
// epochs holds each document once.
TEST(GptIndex, PropertiesOverAGrid) {
  int indices = 0;
  for (int64_t seq_length = 1; seq_length <= 9; ++seq_length) {
    for (int64_t num_samples = 1; num_samples <= 40; ++num_samples) {
      const GptIndex index =
          build_gpt_index(kLengths, 3, {.num_samples = num_samples, .seq_length = seq_length}, "x");
      ASSERT_GE(index.num_samples(), num_samples);
      ASSERT_EQ(index.samples.size(), index.shuffle.size() + 1);
      ASSERT_GE(index.num_epochs * 28, num_samples * seq_length + 1);
      ASSERT_TRUE(index.num_epochs == 1 || (index.num_epochs - 1) * 28 < num_samples * seq_length + 1);
      std::vector<int64_t> begin_of = {0};  // of each entry of the document index, in the stream
      std::vector<int64_t> times(5);
      for (const int32_t id : index.documents) {
        begin_of.push_back(begin_of.back() + kLengths[static_cast<size_t>(id - 3)]);
        ++times[static_cast<size_t>(id - 3)];
      }
      ASSERT_EQ(times, std::vector<int64_t>(5, index.num_epochs));
      for (size_t j = 0; j < index.samples.size(); ++j) {
        const int64_t place = begin_of[index.samples[j].position] + index.samples[j].offset;
        ASSERT_EQ(place, static_cast<int64_t>(j) * seq_length);
      }
      std::vector<uint32_t> sorted(index.shuffle.begin(), index.shuffle.end());
      std::sort(sorted.begin(), sorted.end());
      for (size_t j = 0; j < sorted.size(); ++j) ASSERT_EQ(sorted[j], j);
      ++indices;
    }
  }
  EXPECT_EQ(indices, 360);
}

TEST(GptIndex, Errors) {
  const auto error_of = [](const std::vector<int32_t>& lengths,
                           const GptIndexOptions& options) -> std::string {
    try {
      build_gpt_index(lengths, 0, options, "corpus");
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kBadInput);
      return e.what();
    }
    return "(no error)";
  };
  EXPECT_THAT(error_of({0, 0}, {.seq_length = 4}),
              HasSubstr("corpus: got no tokens in 2 sequences; needed at least one sample"));
  EXPECT_THAT(error_of({}, {.seq_length = 4}), HasSubstr("got no tokens in 0 sequences"));
  EXPECT_THAT(
      error_of({3, 1}, {.seq_length = 4}),
      HasSubstr(
          "corpus: got 4 tokens; needed at least 5 for one sample of seq_length 4. Fix: use a shorter seq"));
  EXPECT_EQ(error_of({3, 1}, {.num_samples = 1, .seq_length = 4}), "(no error)");  // a second epoch fills it
  EXPECT_THAT(error_of({5}, {.seq_length = 4, .seed = -1}), HasSubstr("got seed -1; needed 0 to 4294967295"));
  EXPECT_THAT(error_of({5}, {.seq_length = 4, .seed = int64_t{1} << 32}), HasSubstr("got seed 4294967296"));
  EXPECT_THAT(error_of({5}, {.num_samples = int64_t{1} << 60, .seq_length = 4}),
              HasSubstr("needed at most 4294967293"));
  EXPECT_THAT(error_of(std::vector<int32_t>(100, 1), {.num_samples = 4000000000, .seq_length = 1 << 20}),
              HasSubstr("epochs of 100 sequences; needed at most 4294967295 in all"));
}

}  // namespace
}  // namespace phalanx
