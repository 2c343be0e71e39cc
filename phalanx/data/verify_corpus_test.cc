#include "phalanx/data/verify_corpus.h"

#include <gmock/gmock.h>

#include "phalanx/data/corpus_sidecar.h"
#include "phalanx/data/indexed_writer.h"
#include "phalanx/data/merge_corpora.h"
#include "phalanx/data/test_files.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using testing::pair_bytes;
using testing::put_file;

class PairTest : public ::testing::Test {
 protected:
  std::string make(const std::string& name, const std::vector<std::vector<int32_t>>& documents,
                   TokenDtype dtype = TokenDtype::kUint16) {
    const std::string prefix = folder_.path() + "/" + name;
    IndexedDatasetWriter writer(prefix, dtype);
    for (const auto& document : documents) {
      if (!document.empty()) writer.add_sequence(std::span<const int32_t>(document));
      writer.end_document();
    }
    const int64_t sequences = writer.num_sequences();
    const PairChecksums sums = writer.commit();
    sidecars_.push_back({.dtype = dtype,
                         .sequences = sequences,
                         .documents = static_cast<int64_t>(documents.size()),
                         .tokens = writer.num_tokens(),
                         .text_bytes = 10,
                         .tokenizer_type = "NullTokenizer",
                         .tokenizer_model = "",
                         .tokenizer_checksum = "00000000000000aa",
                         .vocab_size = 100,
                         .checksums = sums});
    return prefix;
  }
  void flip(const std::string& path, size_t at) {
    std::string bytes = read_file(path);
    bytes[at] = static_cast<char>(bytes[at] ^ 1);
    put_file(path, bytes);
  }
  TemporaryDirectory folder_;
  std::vector<CorpusSidecar> sidecars_;
};

using VerifyCorpus = PairTest;
using MergeCorpora = PairTest;

TEST_F(VerifyCorpus, AWholePairPasses) {
  const std::string prefix = make("a", {{1, 2, 99}, {}, {5}});
  VerifiedCorpus found = verify_corpus(prefix, 0, 2);
  EXPECT_EQ(found.documents, 3);
  EXPECT_EQ(found.sequences, 2);
  EXPECT_EQ(found.tokens, 4);
  EXPECT_EQ(found.largest_id, 99);
  EXPECT_EQ(found.vocab_size, 0);
  EXPECT_FALSE(found.has_sidecar);
  write_sidecar(prefix, sidecars_[0]);
  found = verify_corpus(prefix + ".idx", 0, 2);
  EXPECT_TRUE(found.has_sidecar);
  EXPECT_EQ(found.vocab_size, 100);
}

TEST_F(VerifyCorpus, AFlippedBitIsFound) {
  const std::string prefix = make("a", {{1, 2, 99}, {5}});
  write_sidecar(prefix, sidecars_[0]);
  flip(prefix + ".bin", 0);
  EXPECT_THAT(error_of([&] { verify_corpus(prefix, 0, 1); }), HasSubstr("checksum of .bin"));
  flip(prefix + ".bin", 0);
  CorpusSidecar other = sidecars_[0];
  other.checksums.idx ^= 1;
  other.tokens = 5;
  other.dtype = TokenDtype::kInt32;
  write_sidecar(prefix, other);
  const std::string what = error_of([&] { verify_corpus(prefix, 0, 1); });
  EXPECT_THAT(what, HasSubstr("dtype uint16 instead of int32; tokens 4 instead of 5; checksum of .idx"));
}

TEST_F(VerifyCorpus, IdsAreHeldAgainstTheVocabulary) {
  const std::string prefix = make("a", {{1, 2}, {99}});
  EXPECT_EQ(verify_corpus(prefix, 100, 2).vocab_size, 100);
  EXPECT_THAT(error_of([&] { verify_corpus(prefix, 99, 2); }),
              HasSubstr("sequence 1: got token id 99; needed ids from 0 to 98"));
  EXPECT_THAT(error_of([&] {
                verify_corpus(make("b", {{3, -7}}, TokenDtype::kInt32), 0, 1);
              }),
              HasSubstr("token id -7"));
}

TEST_F(VerifyCorpus, DamagedSidecarsAreNamed) {
  const std::string prefix = make("a", {{1}});
  const auto what = [&](const std::string& text) {
    put_file(prefix + ".json", text);
    return error_of([&] { verify_corpus(prefix, 0, 1); });
  };
  EXPECT_THAT(what("{"), HasSubstr("a.json"));
  EXPECT_THAT(what("[]"), HasSubstr("version"));
  EXPECT_THAT(what("{\"version\": 2}"), HasSubstr("a newer program wrote it"));
  EXPECT_THAT(what("{\"version\": 1}"), HasSubstr("dtype"));
  write_sidecar(prefix, sidecars_[0]);
  std::string text = read_file(prefix + ".json");
  EXPECT_THAT(what(text.replace(text.find("uint16"), 6, "uint17")), HasSubstr("'uint17'"));
  write_sidecar(prefix, sidecars_[0]);
  text = read_file(prefix + ".json");
  EXPECT_THAT(what(text.replace(text.find("bin_xxh3") + 12, 1, "?")), HasSubstr("16 hexadecimal digits"));
}

TEST_F(MergeCorpora, IsTheDocumentsOneBehindTheOther) {
  const std::string a = make("a", {{1, 2}, {}, {3}});
  const std::string b = make("b", {{4}, {5, 6, 7}});
  const std::string whole = make("whole", {{1, 2}, {}, {3}, {4}, {5, 6, 7}});
  const MergedCorpus merged = merge_corpora({a, b + ".bin"}, folder_.path() + "/new/ab");
  EXPECT_EQ(pair_bytes(merged.prefix), pair_bytes(whole));
  EXPECT_EQ(merged.inputs, 2);
  EXPECT_EQ(merged.documents, 5);
  EXPECT_EQ(merged.tokens, 7);
  EXPECT_FALSE(path_exists(merged.prefix + ".json"));
  merge_corpora({b, a}, folder_.path() + "/new/ab");
  EXPECT_EQ(pair_bytes(merged.prefix), pair_bytes(make("other", {{4}, {5, 6, 7}, {1, 2}, {}, {3}})));
}

TEST_F(MergeCorpora, AFolderStandsForItsPairs) {
  for (const char* name : {"2", "10", "1"}) make(name, {{name[0]}});
  put_file(folder_.path() + "/notes.txt", "no pair");
  EXPECT_THAT(list_pairs({folder_.path()}),
              ElementsAre(folder_.path() + "/1", folder_.path() + "/10", folder_.path() + "/2"));
  const TemporaryDirectory elsewhere;
  EXPECT_EQ(merge_corpora({folder_.path()}, elsewhere.path() + "/all").inputs, 3);
  EXPECT_THAT(error_of([&] { merge_corpora({folder_.path()}, folder_.path() + "/10"); }),
              HasSubstr("an input that is also the output"));
  put_file(folder_.path() + "/alone.idx", "x");
  EXPECT_THAT(error_of([&] { list_pairs({folder_.path()}); }), HasSubstr("its .bin"));
  const TemporaryDirectory empty;
  EXPECT_THAT(error_of([&] { list_pairs({empty.path()}); }), HasSubstr("a folder without a .bin/.idx pair"));
}

TEST_F(MergeCorpora, AnotherDtypeOrTokenizerIsRefusedAndNothingIsLeft) {
  const std::string a = make("a", {{1}});
  const std::string b = make("b", {{2}}, TokenDtype::kInt32);
  EXPECT_THAT(error_of([&] {
                merge_corpora({a, b}, folder_.path() + "/out");
              }),
              HasSubstr("tokens of int32"));
  EXPECT_FALSE(path_exists(folder_.path() + "/out.bin"));
  const std::string c = make("c", {{3}});
  write_sidecar(a, sidecars_[0]);
  write_sidecar(c, sidecars_[2]);
  const MergedCorpus merged = merge_corpora({a, c}, folder_.path() + "/ac");
  const CorpusSidecar sidecar = *read_sidecar(merged.prefix);
  EXPECT_EQ(sidecar.vocab_size, 100);
  EXPECT_EQ(sidecar.text_bytes, 20);
  EXPECT_TRUE(verify_corpus(merged.prefix, 0, 1).has_sidecar);
  merge_corpora({a, make("d", {{4}})}, folder_.path() + "/ac");
  EXPECT_FALSE(verify_corpus(merged.prefix, 0, 1).has_sidecar) << "the old sidecar went with the old pair";
  sidecars_[2].tokenizer_checksum = "00000000000000bb";
  write_sidecar(c, sidecars_[2]);
  EXPECT_THAT(error_of([&] {
                merge_corpora({a, c}, folder_.path() + "/ac");
              }),
              HasSubstr("tokens of another tokenizer"));
}

}  // namespace
}  // namespace phalanx
