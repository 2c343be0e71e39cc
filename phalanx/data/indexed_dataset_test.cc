#include "phalanx/data/indexed_dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <random>

#include "phalanx/base/error.h"
#include "phalanx/data/indexed_writer.h"

namespace phalanx {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

template <typename F>
std::string error_of(F action, ErrorKind kind = ErrorKind::kBadInput) {
  try {
    action();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), kind);
    return e.what();
  }
  return "(no error)";
}

template <typename T>
void put(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

// An .idx by hand, so that every field can be wrong.
struct IndexParts {
  std::string magic = std::string("MMIDIDX\0\0", 9);
  uint64_t version = 1;
  uint8_t code = 8;
  std::vector<int32_t> lengths = {3, 0, 2};
  std::vector<int64_t> offsets = {0, 6, 6};
  std::vector<int64_t> documents = {0, 2, 2, 3};
  std::optional<uint64_t> n, d;

  std::string bytes() const {
    std::string out = magic;
    put(out, version);
    put(out, code);
    put(out, n.value_or(lengths.size()));
    put(out, d.value_or(documents.size()));
    for (const int32_t v : lengths) put(out, v);
    for (const int64_t v : offsets) put(out, v);
    for (const int64_t v : documents) put(out, v);
    return out;
  }
};

IndexLayout check(const std::string& idx, uint64_t bin_size) {
  return check_index(std::as_bytes(std::span(idx)), bin_size, "corpus");
}

std::string error_of_index(const std::string& idx, uint64_t bin_size = 10) {
  return error_of([&] { check(idx, bin_size); });
}

std::string error_of_parts(const std::function<void(IndexParts&)>& change, uint64_t bin_size = 10) {
  IndexParts parts;
  change(parts);
  return error_of_index(parts.bytes(), bin_size);
}

std::vector<int64_t> read_all(const IndexedDataset& data, int64_t sequence) {
  std::vector<int64_t> tokens(static_cast<size_t>(data.length(sequence)));
  data.read(sequence, 0, tokens);
  return tokens;
}

TEST(IndexedWriter, WritesTheBytesOfTheFormat) {
  const TemporaryDirectory folder;
  const std::string prefix = folder.path() + "/c";
  IndexedDatasetWriter writer(prefix, TokenDtype::kUint16);
  writer.add_sequence(std::vector<int32_t>{1, 2, 65535});
  writer.add_sequence(std::vector<int32_t>{});
  writer.end_document();
  writer.end_document();  // an empty document
  writer.add_sequence(std::vector<int64_t>{7, 258});
  writer.end_document();
  EXPECT_FALSE(path_exists(prefix + ".bin"));
  writer.commit();
  EXPECT_EQ(read_file(prefix + ".bin"), std::string("\1\0\2\0\xff\xff\7\0\2\1", 10));
  EXPECT_EQ(read_file(prefix + ".idx"), IndexParts{}.bytes());
}

TEST(IndexedDataset, ReadsWhatWasWritten) {
  const TemporaryDirectory folder;
  for (const TokenDtype dtype : {TokenDtype::kUint8, TokenDtype::kInt8, TokenDtype::kInt16,
                                 TokenDtype::kUint16, TokenDtype::kInt32, TokenDtype::kInt64}) {
    const std::string prefix = folder.path() + "/" + std::string(token_dtype_name(dtype));
    const std::vector<int64_t> extremes = {smallest_token(dtype), 0, 5, largest_token(dtype)};
    IndexedDatasetWriter writer(prefix + ".bin", dtype);  // either name of the pair will do
    writer.add_sequence(extremes);
    writer.end_document();
    writer.add_sequence(std::vector<int64_t>{9});
    writer.end_document();
    writer.commit();
    const IndexedDataset data(prefix + ".idx");
    EXPECT_EQ(data.prefix(), prefix);
    EXPECT_EQ(data.dtype(), dtype);
    EXPECT_EQ(data.num_sequences(), 2);
    EXPECT_EQ(data.num_documents(), 2);
    EXPECT_EQ(data.num_tokens(), 5);
    EXPECT_EQ(read_all(data, 0), extremes);
    EXPECT_THAT(read_all(data, 1), ElementsAre(9));
    EXPECT_EQ(data.document_begin(1), 1);
    EXPECT_EQ(data.document_begin(2), 2);
    std::vector<int64_t> middle(2);
    data.read(0, 1, middle);
    EXPECT_THAT(middle, ElementsAre(0, 5));
  }
}

TEST(IndexedWriter, AMergeIsTheSameAsWritingAtOnce) {
  const TemporaryDirectory folder;
  const auto path = [&](const std::string& name) { return folder.path() + "/" + name; };
  const auto write = [&](IndexedDatasetWriter& w, int from, int to) {
    for (int i = from; i < to; ++i) {
      w.add_sequence(std::vector<int32_t>(static_cast<size_t>(i % 4), i));
      if (i % 3 == 2) w.end_document();
    }
  };
  IndexedDatasetWriter all(path("all"), TokenDtype::kInt32), a(path("a"), TokenDtype::kInt32),
      b(path("b"), TokenDtype::kInt32);
  write(all, 0, 15);
  all.commit();
  write(a, 0, 6);
  a.commit();
  write(b, 6, 15);
  b.commit();
  IndexedDatasetWriter merged(path("merged"), TokenDtype::kInt32);
  merged.append(IndexedDataset(path("a")));
  merged.append(IndexedDataset(path("b")));
  merged.commit();
  EXPECT_EQ(read_file(path("merged.bin")), read_file(path("all.bin")));
  EXPECT_EQ(read_file(path("merged.idx")), read_file(path("all.idx")));
  IndexedDatasetWriter other(path("other"), TokenDtype::kUint16);
  EXPECT_THAT(error_of([&] { other.append(IndexedDataset(path("a"))); }),
              HasSubstr("/a: got tokens of int32; needed uint16, as in "));
}

TEST(IndexedWriter, TokensThatDoNotFit) {
  const TemporaryDirectory folder;
  IndexedDatasetWriter writer(folder.path() + "/c", TokenDtype::kUint16);
  EXPECT_THAT(
      error_of([&] {
        writer.add_sequence(std::vector<int32_t>{1, 65536});
      }),
      HasSubstr(
          "/c: sequence 0: got token id 65536; needed 0 to 65535 for uint16. Fix: write a wider dtype"));
  EXPECT_THAT(error_of([&] { writer.add_sequence(std::vector<int32_t>{-1}); }), HasSubstr("got token id -1"));
}

TEST(IndexedWriter, NothingAppearsWithoutCommit) {
  const TemporaryDirectory folder;
  {
    IndexedDatasetWriter writer(folder.path() + "/c", TokenDtype::kInt32);
    writer.add_sequence(std::vector<int32_t>(300000, 1));  // above the buffer
    writer.end_document();
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(IndexedWriterDeathTest, AnOpenDocumentIsABug) {
  const TemporaryDirectory folder;
  IndexedDatasetWriter writer(folder.path() + "/c", TokenDtype::kInt32);
  writer.add_sequence(std::vector<int32_t>{1});
  EXPECT_DEATH(writer.commit(), "end_document\\(\\) after the last sequence");
}

TEST(TokenDtype, OfVocabulary) {
  EXPECT_EQ(token_dtype_for_vocab(65499), TokenDtype::kUint16);
  EXPECT_EQ(token_dtype_for_vocab(65500), TokenDtype::kInt32);
  EXPECT_EQ(token_dtype_for_vocab(0), TokenDtype::kInt32);
}

TEST(CheckIndex, AcceptsTheExample) {
  const IndexLayout layout = check(IndexParts{}.bytes(), 10);
  EXPECT_EQ(layout.num_sequences, 3);
  EXPECT_EQ(layout.num_documents, 3);
  EXPECT_EQ(layout.num_tokens, 5);
}

TEST(CheckIndex, EmptyTruncatedAndForeign) {
  EXPECT_THAT(error_of_index(""),
              HasSubstr("corpus.idx: got a file of 0 bytes; needed at least the 34 bytes of the header. "
                        "Fix: the file is empty or cut short"));
  const std::string whole = IndexParts{}.bytes();
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_THAT(error_of_index(whole.substr(0, size)), HasSubstr("cut short")) << size;
  }
  EXPECT_THAT(error_of_index(std::string(64, 'x')),
              HasSubstr("got a file of another kind; needed a file that starts with MMI"));
  EXPECT_THAT(error_of_index("TNTIDX" + std::string(64, '\0')),
              HasSubstr("got an index of the older TNTIDX kind"));
}

TEST(CheckIndex, VersionAndDtype) {
  EXPECT_THAT(error_of_parts([](IndexParts& p) { p.version = 2; }),
              HasSubstr("corpus.idx: got index version 2; needed version 1. Fix: a newer program wrote it"));
  EXPECT_THAT(error_of_parts([](IndexParts& p) { p.version = 0; }), HasSubstr("got index version 0"));
  EXPECT_THAT(error_of_parts([](IndexParts& p) { p.code = 9; }),
              HasSubstr("got dtype code 9; needed a code from 1 to 8"));
  EXPECT_THAT(error_of_parts([](IndexParts& p) { p.code = 0; }), HasSubstr("got dtype code 0"));
  EXPECT_THAT(error_of_parts([](IndexParts& p) { p.code = 6; }),
              HasSubstr("got float64 elements (dtype code 6)"));
}

TEST(CheckIndex, CountsAgainstTheFile) {
  for (const uint64_t huge : {uint64_t{4}, uint64_t{1} << 61, ~uint64_t{0}, ~uint64_t{0} / 12 + 1}) {
    EXPECT_THAT(error_of_parts([&](IndexParts& p) { p.n = huge; }),
                HasSubstr("needed 34 + 12 a sequence + 8 a document index"));
  }
  for (const uint64_t huge : {uint64_t{5}, uint64_t{1} << 61, ~uint64_t{0}}) {
    EXPECT_THAT(error_of_parts([&](IndexParts& p) { p.d = huge; }),
                HasSubstr("document indices; needed 34 + 12 a sequence"));
  }
  EXPECT_THAT(error_of_index(IndexParts{}.bytes() + "ab"), HasSubstr("got 2 bytes after its end"));
  EXPECT_THAT(error_of_index(IndexParts{}.bytes() + "abc"),
              HasSubstr("got 3 mode bytes at its end: a multimodal data set"));
  EXPECT_THAT(
      error_of_parts([](IndexParts& p) { p = {.lengths = {}, .offsets = {}, .documents = {0}}; }, 0),
      HasSubstr(
          "corpus.idx: got no sequences; needed at least one. Fix: tokenize a corpus that is not empty"));
}

TEST(CheckIndex, LengthsOffsetsAndDocuments) {
  EXPECT_THAT(error_of_parts([](IndexParts& p) { p.lengths[1] = -1; }),
              HasSubstr("got length -1 of sequence 1"));
  EXPECT_THAT(error_of_parts([](IndexParts& p) { p.offsets[2] = 8; }),
              HasSubstr("got byte offset 8 of sequence 2; needed 6, the end of the sequence before it"));
  EXPECT_THAT(error_of_parts([](IndexParts& p) { p.offsets[0] = -2; }),
              HasSubstr("got byte offset -2 of sequence 0"));
  EXPECT_THAT(error_of_parts([](IndexParts& p) { p.documents[0] = 1; }),
              HasSubstr("got the first document index 1; needed 0"));
  EXPECT_THAT(error_of_parts([](IndexParts& p) { p.documents[2] = 1; }),
              HasSubstr("got document index 1 after 2"));
  EXPECT_THAT(error_of_parts([](IndexParts& p) { p.documents[3] = 2; }),
              HasSubstr("got the last document index 2; needed 3, the number of sequences"));
  EXPECT_THAT(error_of_parts([](IndexParts& p) { p.documents[3] = 4; }),
              HasSubstr("got the last document index 4"));
  EXPECT_THAT(error_of_parts([](IndexParts& p) { p.documents.clear(); }), HasSubstr("got no document index"));
}

TEST(CheckIndex, TheBinIsAsLongAsPromised) {
  EXPECT_THAT(error_of_index(IndexParts{}.bytes(), 9),
              HasSubstr("corpus.bin: got 9 bytes; needed 10 bytes: 5 tokens of uint16, as the .idx says. "
                        "Fix: the file is dam"));
  EXPECT_THAT(
      error_of_index(IndexParts{}.bytes(), 20),
      HasSubstr(
          "the .bin has 4 bytes a token, the .idx says 2: they are of different width; build both again"));
  EXPECT_THAT(error_of_index(IndexParts{}.bytes(), 5), HasSubstr("the .bin has 1 bytes a token"));
  EXPECT_THAT(error_of_index(IndexParts{}.bytes(), 0), HasSubstr("corpus.bin: got 0 bytes"));
  EXPECT_THAT(error_of_index(IndexParts{}.bytes(), 11), HasSubstr("corpus.bin: got 11 bytes"));
}

TEST(IndexedDataset, MissingFilesNameThePrefix) {
  const TemporaryDirectory folder;
  EXPECT_THAT(error_of([&] { IndexedDataset(folder.path() + "/no"); }, ErrorKind::kIo),
              HasSubstr("/no.idx: got no such file; needed a .bin/.idx pair of the prefix"));
  write_file_atomic(folder.path() + "/no.idx", IndexParts{}.bytes());
  EXPECT_THAT(error_of([&] { IndexedDataset(folder.path() + "/no"); }, ErrorKind::kIo),
              HasSubstr("/no.bin: got no such file"));
  write_file_atomic(folder.path() + "/no.bin", "123");
  EXPECT_THAT(error_of([&] { IndexedDataset(folder.path() + "/no"); }),
              HasSubstr("/no.bin: got 3 bytes; needed 10"));
}

TEST(IndexedDatasetDeathTest, ReadingOutsideIsABug) {
  const TemporaryDirectory folder;
  write_file_atomic(folder.path() + "/c.idx", IndexParts{}.bytes());
  write_file_atomic(folder.path() + "/c.bin", "0123456789");
  const IndexedDataset data(folder.path() + "/c");
  std::vector<int64_t> tokens(3);
  EXPECT_DEATH(data.read(0, 1, tokens), "tokens 1 to 4 of sequence 0");
  EXPECT_DEATH(data.length(3), "sequence 3 of");
}

TEST(CheckIndexFuzz, MutatedFilesAreReadConsistentlyOrRefused) {
  const std::string valid = IndexParts{}.bytes();
  std::mt19937_64 random(11);
  int accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string idx = valid;
    for (uint64_t edits = 1 + random() % 3; edits > 0 && !idx.empty(); --edits) {
      const size_t at = random() % idx.size();
      switch (random() % 5) {
        case 0:
          idx[at] = static_cast<char>(random());
          break;
        case 1:
          idx[at] = static_cast<char>(idx[at] ^ (1 << random() % 8));
          break;
        case 2:
          idx.erase(at, 1 + random() % 12);
          break;
        case 3:
          idx.insert(at, std::string(1 + random() % 12, static_cast<char>(random())));
          break;
        default:
          if (random() % 8 == 0) idx.resize(at);
      }
    }
    const uint64_t bin_size = random() % 8 == 0 ? random() % 64 : 10;
    try {
      const IndexLayout layout = check(idx, bin_size);
      ++accepted;
      ASSERT_EQ(static_cast<uint64_t>(layout.num_tokens * token_dtype_size(layout.dtype)), bin_size);
      ASSERT_EQ(idx.size(),
                static_cast<size_t>(34 + 12 * layout.num_sequences + 8 * (layout.num_documents + 1)));
    } catch (const Error& e) {
      ASSERT_EQ(e.kind(), ErrorKind::kBadInput);
    }
  }
  EXPECT_GT(accepted, 20);
  EXPECT_LT(accepted, 10000);
}

}  // namespace
}  // namespace phalanx
