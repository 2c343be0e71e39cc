#include "phalanx/data/index_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <numeric>
#include <thread>

#include "phalanx/base/fs.h"
#include "phalanx/data/gpt_dataset.h"
#include "phalanx/data/indexed_writer.h"

namespace phalanx {
namespace {

std::vector<std::span<const std::byte>> parts_of(const std::vector<std::vector<uint32_t>>& arrays) {
  std::vector<std::span<const std::byte>> parts;
  for (const std::vector<uint32_t>& array : arrays) parts.push_back(std::as_bytes(std::span(array)));
  return parts;
}

std::vector<std::vector<uint32_t>> arrays_of(const IndexCache::Parts& parts) {
  std::vector<std::vector<uint32_t>> arrays;
  for (const auto& part : parts) {
    const auto array = index_part_as<uint32_t>(part);
    arrays.emplace_back(array.begin(), array.end());
  }
  return arrays;
}

const std::vector<std::vector<uint32_t>> kArrays = {
    {1, 2, 3}, {}, {4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18}};

class IndexCacheTest : public testing::Test {
 protected:
  std::string folder() const { return folder_.path() + "/deep/cache"; }
  IndexCacheOptions options(bool writes = true) const { return {.folder = folder(), .writes = writes}; }

  TemporaryDirectory folder_;
};

TEST_F(IndexCacheTest, KeepsAndFinds) {
  const IndexCache cache(options());
  EXPECT_FALSE(cache.find("gpt", "key"));
  const auto kept = cache.keep("gpt", "key", parts_of(kArrays));
  ASSERT_TRUE(kept);
  EXPECT_EQ(arrays_of(*kept), kArrays);
  const IndexCache another(options(false));
  const auto found = another.find("gpt", "key");
  ASSERT_TRUE(found);
  EXPECT_EQ(arrays_of(*found), kArrays);
  for (const auto& part : *found) EXPECT_EQ(reinterpret_cast<uintptr_t>(part.begin()) % 64, 0u);
  EXPECT_FALSE(another.find("gpt", "key2"));
  EXPECT_FALSE(another.find("blend", "key"));
  EXPECT_FALSE(IndexCache().find("gpt", "key"));
  EXPECT_FALSE(IndexCache().keep("gpt", "key", {}));
  // Nothing but the file: no temporary is left.
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder()), {}), 1);
}

// Without the care that a real file gets: this is done a thousand times.
void overwrite(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

std::string log_of(const std::function<void()>& body) {
  testing::internal::CaptureStderr();
  body();
  return testing::internal::GetCapturedStderr();
}

// Whatever happens to a file: it is refused, or what it gives is what was kept (a gap between arrays).
TEST_F(IndexCacheTest, DamageIsNeverRead) {
  const IndexCache cache(options());
  ASSERT_TRUE(cache.keep("gpt", "key", parts_of(kArrays)));
  const std::string path = cache.path_of("gpt", "key");
  const std::string good = read_file(path);
  int refused = 0, gaps = 0;
  testing::internal::CaptureStderr();
  for (size_t i = 0; i < good.size(); ++i) {
    for (const int flip : {1, 0x80, 0xff}) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ flip);
      overwrite(path, bad);
      const auto found = cache.find("gpt", "key");
      found ? ++gaps : ++refused;
      if (found) {
        ASSERT_EQ(arrays_of(*found), kArrays);
      }
    }
  }
  for (size_t size = 0; size < good.size(); ++size) {
    overwrite(path, good.substr(0, size));
    ASSERT_FALSE(cache.find("gpt", "key"));
  }
  overwrite(path, good + "x");
  EXPECT_FALSE(cache.find("gpt", "key"));
  testing::internal::GetCapturedStderr();
  EXPECT_GT(refused, 3 * (48 + 24 + 3 + 12 + 60 - 1));
  EXPECT_LT(gaps, 3 * 3 * 64);
  ASSERT_TRUE(cache.keep("gpt", "key", parts_of(kArrays)));  // and a rebuilt one takes its place
  EXPECT_TRUE(cache.find("gpt", "key"));
}

TEST_F(IndexCacheTest, TheLogSaysWhy) {
  const IndexCache cache(options());
  ASSERT_TRUE(cache.keep("gpt", "key", parts_of(kArrays)));
  const std::string path = cache.path_of("gpt", "key");
  std::string text = read_file(path);
  const auto log = [&](const std::string& bytes) {
    overwrite(path, bytes);
    return log_of([&] { EXPECT_FALSE(cache.find("gpt", "key")); });
  };
  EXPECT_THAT(log(text.substr(0, 200)), testing::HasSubstr("is not used: it has 200 of 256"));
  EXPECT_THAT(log("short"), testing::HasSubstr("5 bytes are no whole file"));
  EXPECT_THAT(log(std::string(300, 'x')), testing::HasSubstr("it is of another kind"));
  std::string newer = text;
  newer[8] = 2;
  EXPECT_THAT(log(newer), testing::HasSubstr(
                              "it has version 2, this program reads 1; the order of samples is built again"));
  std::string flipped = text;
  flipped[130] = static_cast<char>(flipped[130] ^ 1);
  EXPECT_THAT(log(flipped), testing::HasSubstr("it is damaged"));
  // A whole file of another run under this name.
  ASSERT_TRUE(cache.keep("gpt", "other key", parts_of(kArrays)));
  EXPECT_THAT(log(read_file(cache.path_of("gpt", "other key"))),
              testing::HasSubstr("it belongs to other data or settings"));
}

TEST_F(IndexCacheTest, AFolderThatCannotBeWrittenOrIsNotShared) {
  write_file_atomic(folder_.path() + "/deep", "a file where the folder should be");
  const IndexCache cache(options());
  const std::string log = log_of([&] {
    EXPECT_FALSE(cache.keep("gpt", "key", parts_of(kArrays)));
    EXPECT_FALSE(cache.keep("gpt", "key2", parts_of(kArrays)));
  });
  EXPECT_THAT(log, testing::HasSubstr("the order of samples stays in memory, each rank builds its own: "));
  EXPECT_EQ(log.find("stays in memory"), log.rfind("stays in memory")) << "said once";
  const IndexCache reader({.folder = folder_.path() + "/nowhere", .writes = false});
  const std::string other = log_of([&] {
    EXPECT_FALSE(reader.find("gpt", "key"));
    EXPECT_FALSE(reader.find("gpt", "key"));
    EXPECT_FALSE(reader.keep("gpt", "key", parts_of(kArrays)));
  });
  EXPECT_THAT(other, testing::HasSubstr("this rank builds the order of samples in memory"));
  EXPECT_EQ(other.find("in memory"), other.rfind("in memory")) << "said once";
  EXPECT_FALSE(path_exists(folder_.path() + "/nowhere"));
}

TEST_F(IndexCacheTest, AFullDiskLeavesNothing) {
  if (!path_exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  const IndexCache cache(options());
  make_directories(folder());
  const std::string temporary = cache.path_of("gpt", "key") + ".tmp." + std::to_string(::getpid());
  ASSERT_EQ(::symlink("/dev/full", temporary.c_str()), 0);
  const std::string log = log_of([&] { EXPECT_FALSE(cache.keep("gpt", "key", parts_of(kArrays))); });
  EXPECT_THAT(log, testing::HasSubstr("No space left on device"));
  EXPECT_FALSE(path_exists(cache.path_of("gpt", "key")));
}

// Many writers and readers of one file: whoever finds it finds it whole.
TEST_F(IndexCacheTest, ThreadsShareAFolder) {
  std::vector<uint32_t> large(100000);
  std::iota(large.begin(), large.end(), 0u);
  std::atomic<int> good{0};
  std::vector<std::jthread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const IndexCache cache(options(t == 0));
      for (int i = 0; i < 10; ++i) {
        const auto found = t == 0 ? cache.keep("gpt", "key", parts_of({large})) : cache.find("gpt", "key");
        if (found && arrays_of(*found)[0] == large) ++good;
        if (found && arrays_of(*found)[0] != large) good = -1000000;
      }
    });
  }
  threads.clear();
  EXPECT_GE(good, 10);
}

// Each input of the order is in the key: a change of any of them must not find the file of the others.
TEST_F(IndexCacheTest, AnyOtherInputIsAnotherFile) {
  const auto write = [&](const std::string& name, int extra) {
    IndexedDatasetWriter writer(folder_.path() + "/" + name, TokenDtype::kUint16);
    for (int i = 0; i < 50; ++i) {
      writer.add_sequence(std::vector<int32_t>(static_cast<size_t>(5 + i % 7 + (i == 20 ? extra : 0)), i));
      writer.end_document();
    }
    writer.commit();
    return std::make_shared<IndexedDataset>(folder_.path() + "/" + name);
  };
  const auto cache = std::make_shared<IndexCache>(options());
  const auto files = [&] { return std::distance(std::filesystem::directory_iterator(folder()), {}); };
  const GptDatasetOptions base{.sequences = {5, 45}, .num_samples = 30, .seq_length = 8, .cache = cache};
  const auto data = write("a", 0);
  const GptDataset first(data, base);
  EXPECT_EQ(files(), 1);
  const GptDataset again(data, base);
  EXPECT_EQ(files(), 1);
  EXPECT_TRUE(
      std::equal(again.index().shuffle.begin(), again.index().shuffle.end(), first.index().shuffle.begin()));
  std::vector<GptDatasetOptions> others(6, base);
  others[0].sequences = {4, 44};
  others[1].num_samples = 31;
  others[2].seq_length = 9;
  others[3].seed = 1;
  others[4].drop_last_partial = false;
  others[5].num_samples.reset();
  for (size_t i = 0; i < others.size(); ++i) {
    const GptDataset set(data, others[i]);
    EXPECT_EQ(files(), static_cast<int64_t>(i) + 2);
    GptDatasetOptions plain = others[i];
    plain.cache = nullptr;
    const GptDataset built(data, plain);
    EXPECT_TRUE(std::equal(set.index().samples.begin(), set.index().samples.end(),
                           built.index().samples.begin(), built.index().samples.end()));
    EXPECT_TRUE(std::equal(set.index().documents.begin(), set.index().documents.end(),
                           built.index().documents.begin(), built.index().documents.end()));
    EXPECT_EQ(set.index().num_epochs, built.index().num_epochs);
    EXPECT_EQ(set.index().separate_final_epoch, built.index().separate_final_epoch);
  }
  EXPECT_NO_THROW(GptDataset(write("same_lengths", 0), base));
  EXPECT_EQ(files(), 7) << "the same lengths have the same order";
  EXPECT_NO_THROW(GptDataset(write("other_lengths", 1), base));
  EXPECT_EQ(files(), 8);
}

}  // namespace
}  // namespace phalanx
