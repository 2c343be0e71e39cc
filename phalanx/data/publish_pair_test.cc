#include "phalanx/data/publish_pair.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "phalanx/data/test_files.h"

namespace phalanx {
namespace {

namespace fs = std::filesystem;
using testing::error_of;
using ::testing::HasSubstr;
using testing::pair_bytes;
using testing::put_file;
using ::testing::UnorderedElementsAre;

class PublishPair : public ::testing::Test {
 protected:
  PartPair part(const std::string& name, const std::vector<std::vector<int32_t>>& documents) {
    IndexedDatasetWriter writer(at(name), TokenDtype::kUint16);
    for (const auto& document : documents) {
      if (!document.empty()) writer.add_sequence(std::span<const int32_t>(document));
      writer.end_document();
    }
    const int64_t sequences = writer.num_sequences();
    return {.prefix = at(name),
            .sequences = sequences,
            .documents = static_cast<int64_t>(documents.size()),
            .checksums = writer.commit()};
  }
  std::string at(const std::string& name) const { return folder_.path() + "/" + name; }
  PairChecksums publish(const std::vector<PartPair>& parts) {
    return publish_pair(parts, TokenDtype::kUint16, at("out"));
  }
  TemporaryDirectory folder_;
};

TEST_F(PublishPair, OnePartIsLinkedAgainAndAgainWithoutACopy) {
  const PartPair a = part("a", {{1, 2}, {}});
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(publish({a}).bin, a.checksums.bin);
    EXPECT_TRUE(fs::equivalent(at("a.bin"), at("out.bin")));
    EXPECT_EQ(pair_bytes(at("out")), pair_bytes(at("a")));
  }
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder_.path())) names.push_back(entry.path().filename());
  EXPECT_THAT(names, UnorderedElementsAre("a.bin", "a.idx", "out.bin", "out.idx"));
}

TEST_F(PublishPair, SeveralPartsAreJoinedPartsWithoutASequenceToo) {
  const std::vector<PartPair> parts = {part("a", {{}, {}}), part("b", {{1}, {2, 3}}), part("c", {}),
                                       part("d", {{4}, {}})};
  const PartPair whole = part("whole", {{}, {}, {1}, {2, 3}, {4}, {}});
  const PairChecksums sums = publish(parts);
  EXPECT_EQ(pair_bytes(at("out")), pair_bytes(at("whole")));
  EXPECT_EQ(sums.bin, whole.checksums.bin);
  EXPECT_EQ(sums.idx, whole.checksums.idx);
}

// An .idx that stays while the .bin changes would look finished.
TEST_F(PublishPair, AnOlderIndexIsGoneBeforeTheBinChanges) {
  const PartPair a = part("a", {{1}});
  const PartPair b = part("b", {{2}});
  for (const std::vector<PartPair>& parts : {std::vector{a}, std::vector{a, b}}) {
    fs::remove_all(at("out.bin"));
    put_file(at("out.idx"), "of another run");
    make_directories(at("out.bin/in_the_way"));
    EXPECT_THAT(error_of([&] { publish(parts); }, ErrorKind::kIo), HasSubstr("out.bin"));
    EXPECT_FALSE(path_exists(at("out.idx")));
  }
}

TEST_F(PublishPair, ADamagedPartIsNamed) {
  const PartPair a = part("a", {{1}});
  const PartPair b = part("b", {{2}});
  fs::resize_file(at("b.bin"), 1);
  EXPECT_THAT(error_of([&] { publish({a, b}); }), HasSubstr("b.bin"));
  EXPECT_FALSE(path_exists(at("out.bin")));
}

}  // namespace
}  // namespace phalanx
