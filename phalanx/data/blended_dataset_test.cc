#include "phalanx/data/blended_dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/base/json.h"
#include "phalanx/data/indexed_writer.h"

namespace phalanx {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::vector<std::string> strings(const Json& json) {
  return json.is_null() ? std::vector<std::string>() : json.get<std::vector<std::string>>();
}

class BlendedDatasetTest : public testing::Test {
 protected:
  std::string prefix(int64_t d) const { return folder_.path() + "/d" + std::to_string(d); }

  // The data sets that the fixtures' script describes, each written once.
  void write_first(int64_t count) {
    for (; written_ < count; ++written_) write(written_, 20 + written_ * 13 % 70);
  }

  void write(int64_t d, int64_t count) {
    IndexedDatasetWriter writer(prefix(d), d % 2 == 0 ? TokenDtype::kUint16 : TokenDtype::kInt32);
    for (int64_t i = 0; i < count; ++i) {
      std::vector<int32_t> tokens;
      for (int64_t t = 0; t < 1 + (i * 37 + d * 11) % 23; ++t) {
        tokens.push_back(static_cast<int32_t>((d * 7001 + i * 131 + t * 17) % 30000));
      }
      writer.add_sequence(tokens);
      writer.end_document();
    }
    writer.commit();
  }

  Blend blend_of(std::vector<std::string> words) const {
    for (std::string& word : words) {
      if (word[0] == '@') word = prefix(std::stoll(word.substr(1)));
    }
    return parse_blend(words, "words");
  }

  std::string error_of(const std::vector<std::string>& words, const BlendedOptions& options) const {
    try {
      BlendedDataset::open(blend_of(words), options);
    } catch (const Error& e) {
      return e.what();
    }
    return "(no error)";
  }

  int64_t written_ = 0;
  TemporaryDirectory folder_;
};

uint64_t hash_of(const BlendedDataset& set, int64_t seq_length) {
  std::vector<int64_t> tokens(static_cast<size_t>(seq_length) + 1);
  std::vector<uint8_t> mask(static_cast<size_t>(seq_length));
  uint64_t hash = 1469598103934665603u;
  for (int64_t k = 0; k < set.num_samples(); ++k) {
    set.read(k, tokens, mask);
    for (const int64_t token : tokens) hash = (hash ^ static_cast<uint64_t>(token)) * 1099511628211u;
  }
  return hash;
}

// Each part of each case, token by token, built in memory, on threads, into a cache and out of it.
TEST_F(BlendedDatasetTest, ReadsWhatMegatronReads) {
  const Json cases =
      read_json_file(std::string(PHALANX_SOURCE_DIR) + "/tests/fixtures/data/megatron_blends.json");
  int compared = 0, absent = 0, number = 0;
  for (const Json& c : cases) {
    write_first(c.at("datasets").get<int64_t>());
    const int rounds = ++number % 8 == 0 ? 3 : 2;
    for (size_t part = 0; part < 3; ++part) {
      const bool shared = !c.at("shared").is_null();
      const std::vector<std::string> words = strings(shared ? c.at("shared") : c.at("parts").at(part));
      if (words.empty()) continue;
      BlendedOptions options{.part = static_cast<SplitPart>(part),
                             .seq_length = c.at("seq_length").get<int64_t>(),
                             .seed = c.at("seed").get<int64_t>()};
      if (shared) options.split = c.at("split").get<std::string>();
      if (!c.at("samples").at(part).is_null()) options.num_samples = c.at("samples").at(part).get<int64_t>();
      for (int round = 0; round < rounds; ++round) {
        options.threads = 1 + round;
        if (rounds == 3 && round > 0) {  // written, then found
          options.cache =
              std::make_shared<IndexCache>(IndexCacheOptions{.folder = folder_.path() + "/cache"});
        }
        const auto set = BlendedDataset::open(blend_of(words), options);
        ASSERT_EQ(set == nullptr, c.at("sizes").at(part).is_null()) << c.dump();
        absent += set == nullptr ? 1 : 0;
        if (set == nullptr) continue;
        ASSERT_EQ(set->num_samples(), c.at("sizes").at(part).get<int64_t>()) << c.dump();
        ASSERT_EQ(hash_of(*set, options.seq_length),
                  std::stoull(c.at("hashes").at(part).get<std::string>(), nullptr, 16))
            << "part " << part << " of " << c.dump();
        ++compared;
      }
    }
  }
  EXPECT_GT(compared, 250);
  EXPECT_GT(absent, 5);
}

TEST_F(BlendedDatasetTest, PlacesAndStarts) {
  write(0, 30);
  write(1, 30);
  const auto set =
      BlendedDataset::open(blend_of({"1", "@0", "3", "@1"}), {.num_samples = 20, .seq_length = 8});
  EXPECT_EQ(set->num_datasets(), 2);
  EXPECT_EQ(set->num_samples(), 20);
  EXPECT_EQ(set->place(0), (BlendedDataset::Place{1, 0}));
  std::vector<int64_t> tokens(9), own(9), starts, own_starts;
  std::vector<uint8_t> mask(8);
  int first = 0;
  for (int64_t k = 0; k < 20; ++k) {
    const BlendedDataset::Place at = set->place(k);
    first += at.dataset == 0 ? 1 : 0;
    set->read(k, tokens, mask, &starts);
    set->dataset(at.dataset).read(at.sample, own, mask, &own_starts);
    ASSERT_EQ(tokens, own);
    ASSERT_EQ(starts, own_starts);
  }
  EXPECT_EQ(first, 5);
}

TEST_F(BlendedDatasetTest, TheSamePrefixTwice) {
  write(0, 30);
  const auto set = BlendedDataset::open(blend_of({"@0", "@0", "@0"}), {.seq_length = 8});
  EXPECT_EQ(set->num_samples(), 3 * set->dataset(0).num_samples());
  // Equal indices, built and written at once.
  testing::internal::CaptureStderr();
  for (int round = 0; round < 5; ++round) {
    const auto cache = std::make_shared<IndexCache>(
        IndexCacheOptions{.folder = folder_.path() + "/cache" + std::to_string(round)});
    const auto other =
        BlendedDataset::open(blend_of({"@0", "@0", "@0"}), {.seq_length = 8, .threads = 3, .cache = cache});
    EXPECT_EQ(hash_of(*other, 8), hash_of(*set, 8));
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST_F(BlendedDatasetTest, Errors) {
  write(0, 30);
  write(1, 1);
  const BlendedOptions some{.num_samples = 10, .seq_length = 8};
  EXPECT_THAT(error_of({"1", "@0", "2", "@1"}, {.seq_length = 8}),
              HasSubstr("the blend: got weights without a number of samples"));
  EXPECT_THAT(error_of({"1", "@0", "2", "@7"}, some),
              AllOf(HasSubstr("/d7.idx: got no such file"), HasSubstr("needed a .bin/.idx pair")));
  EXPECT_THAT(error_of({"@0", "0.5", "@1"}, some),
              HasSubstr("the prefix '0.5': got a number among 3 prefixes without weights; needed weights and "
                        "prefixes in turn"));
  EXPECT_THAT(error_of({"1", "@0", "2", "@1"}, {.split = "1,1,0", .num_samples = 10, .seq_length = 8}),
              HasSubstr("/d1, sequences 0 to 0: got no tokens in 0 sequences"));
  EXPECT_THAT(error_of({}, some), HasSubstr("got 0 data sets; needed 1 to 32766"));
  EXPECT_THAT(error_of({"1", "@0", "2", "@0"}, {.num_samples = int64_t{1} << 40, .seq_length = 8}),
              HasSubstr("needed at most 4294967293"));
}

// Too small a margin: found by search, since the error rule rarely takes more than its share.
TEST_F(BlendedDatasetTest, ABlendThatTakesMoreThanThereIs) {
  write(0, 20);
  for (int64_t d = 1; d < 15; ++d) write(d, 20);
  std::vector<std::string> words;
  for (int d = 0; d < 15; ++d) {
    words.push_back(d == 0 ? "1" : "0.0307");
    words.push_back("@" + std::to_string(d));
  }
  std::string message = "(no error)";
  for (int64_t samples = 1; samples < 400 && message == "(no error)"; ++samples) {
    message = error_of(words, {.num_samples = samples, .seq_length = 100, .surplus = -0.5});
  }
  EXPECT_THAT(message,
              AllOf(HasSubstr("which the blend takes from it"), HasSubstr("data.mid_level_dataset_surplus")));
}

}  // namespace
}  // namespace phalanx
