#include "phalanx/data/tokenize_corpus.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <random>

#include "phalanx/base/json.h"
#include "phalanx/data/corpus_sidecar.h"
#include "phalanx/data/test_files.h"
#include "phalanx/data/verify_corpus.h"

namespace phalanx {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using testing::pair_bytes;
using testing::put_file;
using ::testing::UnorderedElementsAre;

// JSON lines of about `bytes`, documents of very different length, some of them empty.
std::string json_lines(size_t bytes, unsigned seed) {
  std::mt19937 random(seed);
  std::string out;
  while (out.size() < bytes) {
    std::string text;
    const size_t words = random() % 50 == 0 ? 3000 : random() % 40;
    for (size_t i = 0; i < words; ++i) text += "word" + std::to_string(random() % 1000) + " ";
    out += Json{{"id", random()}, {"text", text}}.dump() + "\n";
  }
  return out;
}

class TokenizeCorpusTest : public ::testing::Test {
 protected:
  std::string put(const std::string& name, const std::string& bytes) {
    put_file(folder_.path() + "/" + name, bytes);
    return folder_.path() + "/" + name;
  }
  TokenizeOptions options(std::vector<std::string> inputs, const std::string& output = "out") {
    TokenizeOptions out;
    out.inputs = std::move(inputs);
    out.output_prefix = folder_.path() + "/" + output;
    out.tokenizer.type = "ByteTokenizer";
    out.append_eod = true;
    out.threads = 2;
    return out;
  }
  std::string out(const std::string& output = "out") {
    return pair_bytes(folder_.path() + "/" + output + "_text_document");
  }
  std::vector<std::string> names() {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(folder_.path())) found.push_back(entry.path().filename());
    return found;
  }
  TemporaryDirectory folder_;
};

TEST_F(TokenizeCorpusTest, WritesWhatMegatronWrites) {
  const std::string input = put("a.jsonl", "{\"text\": \"ab\"}\n{\"text\": \"\"}\n{\"text\": \"c\"}\n");
  const TokenizeReport report = tokenize_corpus(options({input}));
  const std::string u64_4 = std::string("\4\0\0\0\0\0\0\0", 8);
  const std::string expected =
      std::string("a\0b\0\0\1c\0\0\1|MMIDIDX\0\0\1\0\0\0\0\0\0\0\10\2\0\0\0\0\0\0\0", 37) + u64_4 +
      std::string("\3\0\0\0\2\0\0\0", 8) +                   // lengths
      std::string("\0\0\0\0\0\0\0\0\6\0\0\0\0\0\0\0", 16) +  // offsets
      std::string("\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0", 16) +  // documents
      std::string("\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0", 16);
  EXPECT_EQ(out(), expected);
  EXPECT_EQ(report.columns[0].counts.documents, 3);
  EXPECT_EQ(report.columns[0].counts.empty_documents, 1);
  EXPECT_EQ(report.columns[0].counts.sequences, 2);
  EXPECT_EQ(report.columns[0].counts.tokens, 5);
  EXPECT_EQ(report.columns[0].counts.text_bytes, 3);
  EXPECT_THAT(names(), UnorderedElementsAre("a.jsonl", "out_text_document.bin", "out_text_document.idx",
                                            "out_text_document.json"));
}

TEST_F(TokenizeCorpusTest, TheBytesDoNotDependOnThreadsOrPacking) {
  const std::string first = json_lines(3'000'000, 1);
  const std::string second = json_lines(1'500'000, 2);
  const auto plain = {put("1.jsonl", first), put("2.txt", "one text"), put("3.jsonl", second),
                      put("4.txt", "")};
  const auto packed = {put("1.jsonl.gz", testing::gzip(first)), put("2.txt.zst", testing::zstd("one text")),
                       put("3.jsonl.zst", testing::zstd(second)), put("4.txt", "")};
  TokenizeOptions job = options(plain);
  job.threads = 1;
  const TokenizeReport report = tokenize_corpus(job);
  EXPECT_EQ(report.parts, 4u) << "a file of 1 MB is a part of its own";
  const std::string expected = out();
  const std::string sidecar = read_file(folder_.path() + "/out_text_document.json");
  for (const int threads : {2, 5}) {
    job.threads = threads;
    tokenize_corpus(job);
    EXPECT_TRUE(out() == expected) << threads;
    EXPECT_EQ(read_file(folder_.path() + "/out_text_document.json"), sidecar);
  }
  tokenize_corpus(options(packed, "packed"));
  EXPECT_TRUE(out("packed") == expected);
}

TEST_F(TokenizeCorpusTest, EachKeyGetsItsPair) {
  const std::string input = put("a.jsonl", "{\"t\": \"1\", \"b\": \"22\"}\n{\"t\": \"3\"}\n");
  TokenizeOptions job = options({input});
  job.keys = {"t", "b"};
  const TokenizeReport report = tokenize_corpus(job);
  EXPECT_EQ(report.columns[1].prefix, folder_.path() + "/out_b_document");
  EXPECT_EQ(report.counts.rejected.total(), 1);
  EXPECT_EQ(read_file(folder_.path() + "/out_t_document.bin"), std::string("1\0\0\1", 4));
  EXPECT_EQ(read_file(folder_.path() + "/out_b_document.bin"), std::string("2\0002\0\0\1", 6));
  verify_corpus(folder_.path() + "/out_b_document", 0, 1);
}

TEST_F(TokenizeCorpusTest, RejectedLinesAreShownWithFileAndLine) {
  const auto inputs = {put("a.jsonl", "\n{\"text\": \"x\"}\nbroken\n"),
                       put("b.jsonl", "{\"text\": 1}\n\n{\"no\": 1}\n{\"text\": \"y\"}\n")};
  const TokenizeReport report = tokenize_corpus(options(inputs));
  ASSERT_EQ(report.counts.rejected.examples.size(), 3u);
  EXPECT_THAT(report.counts.rejected.examples[0].where, HasSubstr("/a.jsonl:3"));
  EXPECT_THAT(report.counts.rejected.examples[1].where, HasSubstr("/b.jsonl:1"));
  EXPECT_THAT(report.counts.rejected.examples[2].where, HasSubstr("/b.jsonl:3"));
  EXPECT_EQ(report.counts.lines, 7);
  EXPECT_EQ(report.counts.blank_lines, 2);
  TokenizeOptions strict = options(inputs, "strict");
  strict.max_rejected = RejectLimit::parse("2");
  EXPECT_THAT(error_of([&] { tokenize_corpus(strict); }), HasSubstr("3 of "));
  strict.max_rejected = RejectLimit::parse("50%");
  EXPECT_THAT(error_of([&] { tokenize_corpus(strict); }), HasSubstr("3 of 5 lines"));
  EXPECT_FALSE(path_exists(folder_.path() + "/strict_text_document.idx"));
  EXPECT_FALSE(path_exists(folder_.path() + "/strict_text_document.bin"));
}

TEST_F(TokenizeCorpusTest, AStoppedJobGoesOnWithTheFilesThatAreLeft) {
  const std::vector<std::string> inputs = {put("1.jsonl", json_lines(1'200'000, 1)),
                                           put("2.jsonl", json_lines(1'200'000, 2)),
                                           put("3.jsonl", json_lines(1'200'000, 3) + "broken\n")};
  TokenizeOptions job = options(inputs, "stopped");
  job.max_rejected = RejectLimit::parse("0");
  EXPECT_THAT(error_of([&] { tokenize_corpus(job); }), HasSubstr("3.jsonl:"));
  EXPECT_TRUE(path_exists(folder_.path() + "/stopped_parts"));
  EXPECT_FALSE(path_exists(folder_.path() + "/stopped_text_document.bin"));
  // What a killed process leaves behind.
  put("stopped_parts/0123456789abcdef_0.bin.tmp.12345", "half");
  put("stopped_text_document.bin.tmp.12345", "half");
  job.max_rejected = RejectLimit();
  const TokenizeReport again = tokenize_corpus(job);
  EXPECT_EQ(again.parts_reused, 2u);
  EXPECT_EQ(again.counts.rejected.total(), 1);
  EXPECT_FALSE(path_exists(folder_.path() + "/stopped_parts"));
  EXPECT_FALSE(path_exists(folder_.path() + "/stopped_text_document.bin.tmp.12345"));
  const TokenizeReport whole = tokenize_corpus(options(inputs));
  EXPECT_EQ(whole.parts_reused, 0u);
  EXPECT_TRUE(out("stopped") == out());
  EXPECT_EQ(again.counts.lines, whole.counts.lines);
  EXPECT_EQ(again.counts.input_bytes, whole.counts.input_bytes);
  EXPECT_EQ(again.columns[0].counts.tokens, whole.columns[0].counts.tokens);
}

TEST_F(TokenizeCorpusTest, ChangedInputOrSettingsAreDoneAgain) {
  const std::vector<std::string> inputs = {put("1.jsonl", json_lines(1'200'000, 1)),
                                           put("2.jsonl", json_lines(1'200'000, 2)),
                                           put("3.jsonl", "broken\n")};
  TokenizeOptions job = options(inputs);
  job.max_rejected = RejectLimit::parse("0");
  const auto reused_after = [&](const std::function<void(TokenizeOptions&)>& change) {
    error_of([&] { tokenize_corpus(job); });
    TokenizeOptions other = job;
    other.max_rejected = RejectLimit();
    change(other);
    return tokenize_corpus(other).parts_reused;
  };
  EXPECT_EQ(reused_after([](TokenizeOptions&) {}), 2u);
  EXPECT_EQ(reused_after([](TokenizeOptions& o) { o.threads = 5; }), 2u);
  EXPECT_EQ(reused_after([](TokenizeOptions& o) { std::swap(o.inputs[0], o.inputs[1]); }), 2u);
  EXPECT_EQ(reused_after([](TokenizeOptions& o) { o.append_eod = false; }), 0u);
  EXPECT_EQ(reused_after([](TokenizeOptions& o) { o.max_document_bytes = 1 << 20; }), 0u);
  EXPECT_EQ(reused_after([](TokenizeOptions& o) { o.format = TextFormat::kDocument; }), 0u);
  EXPECT_EQ(reused_after([&](TokenizeOptions&) { put("2.jsonl", json_lines(1'200'000, 4)); }), 1u);
  EXPECT_EQ(reused_after([&](TokenizeOptions&) { put("2.jsonl", read_file(inputs[1])); }), 1u)
      << "written again, of the same size";
  EXPECT_EQ(reused_after([&](TokenizeOptions&) {
              for (const auto& entry : fs::directory_iterator(folder_.path() + "/out_parts")) {
                if (entry.path().extension() == ".bin") fs::resize_file(entry.path(), 10);
              }
            }),
            0u);
  EXPECT_EQ(reused_after([&](TokenizeOptions&) {
              for (const auto& entry : fs::directory_iterator(folder_.path() + "/out_parts")) {
                if (entry.path().extension() == ".json") put_file(entry.path(), "{\"counts\": [1");
              }
            }),
            0u);
}

TEST_F(TokenizeCorpusTest, TheSameFileTwiceIsReadTwice) {
  const std::string input = put("1.txt", "ab");
  tokenize_corpus(options({input, input}));
  EXPECT_EQ(read_file(folder_.path() + "/out_text_document.bin"), std::string("a\0b\0\0\1a\0b\0\0\1", 12));
  const std::string large = put("1.jsonl", json_lines(1'200'000, 1));
  tokenize_corpus(options({large}));
  const std::string once = read_file(folder_.path() + "/out_text_document.bin");
  tokenize_corpus(options({large, large}));
  EXPECT_TRUE(read_file(folder_.path() + "/out_text_document.bin") == once + once);
}

TEST_F(TokenizeCorpusTest, AFolderThatHoldsTheOutputIsReadWithoutIt) {
  put("1.txt", "a");
  TokenizeOptions job = options({folder_.path()});
  tokenize_corpus(job);
  const std::string expected = out();
  tokenize_corpus(job);
  EXPECT_EQ(out(), expected);
}

TEST_F(TokenizeCorpusTest, WhatCannotWorkIsSaidAndLeavesNothing) {
  const std::string text = put("a.txt", "a");
  const std::string empty = put("e.jsonl", "");
  const std::string empties = put("f.jsonl", "{\"text\": \"\"}\n");
  EXPECT_THAT(error_of([&] { tokenize_corpus(options({empty})); }),
              HasSubstr("no token for 'text' in 0 lines"));
  EXPECT_THAT(error_of([&] { tokenize_corpus(options({empties})); }), HasSubstr("1 empty"));
  EXPECT_THAT(error_of([&] { tokenize_corpus(options({folder_.path() + "/no"})); }, ErrorKind::kIo),
              HasSubstr("/no"));
  const std::string own = put("out_text_document.bin", "text");
  EXPECT_THAT(error_of([&] { tokenize_corpus(options({own})); }),
              HasSubstr("an input that is also the output"));
  fs::remove(own);
  EXPECT_THAT(names(), UnorderedElementsAre("a.txt", "e.jsonl", "f.jsonl"));
  EXPECT_THAT(error_of([&] { tokenize_corpus(options({text}, "a.txt/out")); }, ErrorKind::kIo),
              HasSubstr("a.txt"));
}

TEST_F(TokenizeCorpusTest, OneProcessAtATimeMayWriteAnOutput) {
  const std::string input = put("a.txt", "a");
  const PartFolder held(folder_.path() + "/out", 1, TokenDtype::kUint16);
  EXPECT_THAT(error_of([&] { tokenize_corpus(options({input})); }),
              HasSubstr("another process that is writing this output"));
}

TEST_F(TokenizeCorpusTest, AnInputThatChangesWhileItIsReadIsAnError) {
  const std::string input = put("a.jsonl", json_lines(4'000'000, 1));
  TokenizeOptions job = options({input});
  job.threads = 1;
  job.on_progress = [&](const TokenizeProgress& progress) {
    if (progress.input_bytes < 2'000'000) put("a.jsonl", json_lines(4'100'000, 2));
  };
  EXPECT_THAT(error_of([&] { tokenize_corpus(job); }), HasSubstr("changed while it was read"));
  EXPECT_FALSE(path_exists(folder_.path() + "/out_text_document.idx"));
}

TEST_F(TokenizeCorpusTest, ProgressEndsAtTheSizeOfTheInput) {
  const auto inputs = {put("1.jsonl.gz", testing::gzip(json_lines(2'500'000, 1))), put("2.txt", "x")};
  TokenizeOptions job = options(inputs);
  TokenizeProgress last;
  job.on_progress = [&](const TokenizeProgress& progress) {
    EXPECT_GE(progress.input_bytes, last.input_bytes);
    last = progress;
  };
  const TokenizeReport report = tokenize_corpus(job);
  EXPECT_EQ(last.input_bytes, last.input_bytes_total);
  EXPECT_EQ(last.input_bytes, report.counts.input_bytes);
  EXPECT_GT(report.counts.unpacked_bytes, 2'500'000);
}

// What says that an output is finished or good must not outlive that output.
TEST_F(TokenizeCorpusTest, IndexAndSidecarOfAnOlderOutputGoFirst) {
  const std::string input = put("a.txt", "abc");
  tokenize_corpus(options({input}));
  fs::remove(folder_.path() + "/out_text_document.bin");
  make_directories(folder_.path() + "/out_text_document.bin/in_the_way");
  EXPECT_THAT(error_of([&] { tokenize_corpus(options({input})); }, ErrorKind::kIo),
              HasSubstr("out_text_document.bin"));
  EXPECT_FALSE(path_exists(folder_.path() + "/out_text_document.idx"));
  EXPECT_FALSE(path_exists(folder_.path() + "/out_text_document.json"));
}

TEST_F(TokenizeCorpusTest, TheSidecarTellsWhatWasMade) {
  tokenize_corpus(options({put("a.txt", "abc"), put("b.txt", "")}));
  const CorpusSidecar sidecar = *read_sidecar(folder_.path() + "/out_text_document");
  EXPECT_EQ(sidecar.documents, 2);
  EXPECT_EQ(sidecar.empty_documents, 1);
  EXPECT_EQ(sidecar.tokens, 4);
  EXPECT_EQ(sidecar.vocab_size, 257);
  EXPECT_EQ(sidecar.tokenizer_type, "ByteTokenizer");
  EXPECT_TRUE(sidecar.append_eod);
}

}  // namespace
}  // namespace phalanx
