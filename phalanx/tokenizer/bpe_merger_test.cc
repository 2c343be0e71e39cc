// Merging and its cache against merging by the book: look at every pair, merge the best, start again.
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <random>

#include "phalanx/tokenizer/bpe_encoder.h"
#include "phalanx/tokenizer/bpe_test_models.h"

namespace phalanx {
namespace {

using Ids = std::vector<int32_t>;

Ids by_the_book(const BpeModel& model, std::string_view piece) {
  std::map<std::pair<int32_t, int32_t>, size_t> ranks;
  for (size_t r = 0; r < model.merges.size(); ++r) ranks[{model.merges[r].left, model.merges[r].right}] = r;
  Ids ids;
  for (const char c : piece)
    ids.push_back(static_cast<uint8_t>(c));  // bytes are the first ids in these models
  while (true) {
    size_t best = model.merges.size();
    size_t place = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto found = ranks.find({ids[i], ids[i + 1]});
      if (found == ranks.end() || found->second >= best) continue;
      best = found->second;
      place = i;
    }
    if (best == model.merges.size()) return ids;
    ids[place] = model.merges[best].result;
    ids.erase(ids.begin() + static_cast<ptrdiff_t>(place) + 1);
  }
}

std::string random_piece(std::mt19937& random, size_t longest) {
  std::string piece(1 + random() % longest, 'a');
  const size_t letters = 1 + random() % 4;
  for (char& c : piece) c = static_cast<char>('a' + random() % letters);
  return piece;
}

TEST(BpeMerger, LowestRankThenLeftmost) {
  // "aa" before "ab": the first two of three merge.
  const BpeModel model = make_model({{"a", "a"}, {"a", "b"}, {"aa", "a"}});
  const BpeMerger merger(model);
  const auto encode = [&](std::string_view piece) {
    Ids ids;
    merger.encode_piece(piece, ids);
    return ids;
  };
  const int32_t aa = 256, ab = 257, aaa = 258;
  EXPECT_EQ(encode("aaa"), (Ids{aaa}));
  EXPECT_EQ(encode("aaaa"), (Ids{aa, aa}));
  EXPECT_EQ(encode("aaaaa"), (Ids{aa, aaa}));
  EXPECT_EQ(encode("aab"), (Ids{aa, 'b'}));
  EXPECT_EQ(encode("bab"), (Ids{'b', ab}));
  EXPECT_EQ(encode("z"), (Ids{'z'}));
  EXPECT_EQ(encode(""), Ids{});
}

TEST(BpeMerger, EqualsMergingByTheBook) {
  std::mt19937 random(3);
  int pieces = 0;
  int merged = 0;
  for (int round = 0; round < 60; ++round) {
    const BpeModel model = random_model(random, 4, 5 + random() % 60);
    const BpeMerger merger(model);
    PieceEncoder cached(merger, 6);
    for (int i = 0; i < 60; ++i) {
      const std::string piece =
          random_piece(random, i % 10 == 0 ? 200 : 20);  // short ones scan, long ones heap
      const Ids expected = by_the_book(model, piece);
      Ids ids;
      merger.encode_piece(piece, ids);
      ASSERT_EQ(ids, expected) << piece;
      Ids more = {1};
      const std::vector<uint32_t> ends = {static_cast<uint32_t>(piece.size())};
      cached.encode(piece, ends, 0, more);
      more.erase(more.begin());
      ASSERT_EQ(more, expected) << piece;
      ++pieces;
      merged += static_cast<int>(piece.size() - ids.size());
    }
  }
  EXPECT_EQ(pieces, 3600);
  EXPECT_GT(merged, 10000);
}

// A small cache under many pieces: everything is evicted, found again in the back place, or kept elsewhere for its
// many ids; batches repeat pieces within themselves.
TEST(PieceEncoder, CacheNeverChangesIds) {
  std::mt19937 random(4);
  const BpeModel model = random_model(random, 5, 80);
  const BpeMerger merger(model);
  PieceEncoder cached(merger, 5);
  std::vector<std::string> words;
  for (int i = 0; i < 300; ++i) words.push_back(random_piece(random, i % 8 == 0 ? 300 : 17));
  for (int i = 0; i < 50; ++i)
    words.push_back(std::string(12, static_cast<char>('k' + i % 15)));  // 12 ids each
  std::string text;
  std::vector<uint32_t> ends;
  Ids expected;
  for (int i = 0; i < 20000; ++i) {
    const std::string& word = words[std::min(random() % words.size(), random() % words.size())];
    text += word;
    ends.push_back(static_cast<uint32_t>(text.size()));
    merger.encode_piece(word, expected);
  }
  Ids ids;
  cached.encode(text, ends, 0, ids);
  EXPECT_EQ(ids, expected);
  Ids half;
  cached.encode(text, std::span(ends).subspan(100), ends[99], half);
  Ids tail;
  for (size_t i = 100; i < ends.size(); ++i) {
    merger.encode_piece(std::string_view(text).substr(ends[i - 1], ends[i] - ends[i - 1]), tail);
  }
  EXPECT_EQ(half, tail);
}

// Only their lengths tell these apart once they are packed into 16 bytes.
TEST(PieceEncoder, PiecesThatEndInZeroBytes) {
  const BpeMerger merger(make_model({}));
  PieceEncoder cached(merger, 6);
  const std::string text(
      "a"
      "a\0"
      "a\0\0"
      "\0"
      "\0\0"
      "bcdefghi"
      "bcdefghi\0"
      "the text goes on",
      43);
  const std::vector<uint32_t> ends = {1, 3, 6, 7, 9, 17, 26, 30, 42};
  for (int round = 0; round < 2; ++round) {
    Ids ids;
    cached.encode(text, ends, 0, ids);
    EXPECT_EQ(ids, Ids(text.begin(), text.begin() + 42));
  }
}

// More pieces with many ids than are kept: the cache starts anew, and goes on right.
TEST(PieceEncoder, ManyIdsOverflow) {
  const BpeMerger merger(make_model({}));
  PieceEncoder cached(merger, 16);
  std::string text;
  std::vector<uint32_t> ends;
  for (uint32_t i = 0; i < 30000; ++i) {
    for (int k = 0; k < 12; ++k) text += static_cast<char>('a' + (i >> (k % 4 * 4) & 15));
    ends.push_back(static_cast<uint32_t>(text.size()));
  }
  const Ids expected(text.begin(), text.end());
  for (int round = 0; round < 2; ++round) {
    Ids ids;
    cached.encode(text, ends, 0, ids);
    ASSERT_TRUE(ids == expected);
  }
}

TEST(BpeMerger, IgnoreMergesTakesWholePieces) {
  BpeModel model = make_model({{"a", "b"}});
  model.tokens.push_back("xyz");  // no merge leads to it
  const auto encode = [&](std::string_view piece) {
    Ids ids;
    BpeMerger(model).encode_piece(piece, ids);
    return ids;
  };
  EXPECT_EQ(encode("xyz"), (Ids{'x', 'y', 'z'}));
  model.ignore_merges = true;
  EXPECT_EQ(encode("xyz"), (Ids{257}));
  EXPECT_EQ(encode("xyzab"), (Ids{'x', 'y', 'z', 256}));
  EXPECT_EQ(encode("ab"), (Ids{256}));
}

double seconds_for(const BpeMerger& merger, const std::string& piece) {
  double best = 1e9;
  for (int i = 0; i < 3; ++i) {
    const auto start = std::chrono::steady_clock::now();
    Ids ids;
    merger.encode_piece(piece, ids);
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

// Quadratic merging would need minutes for half a megabyte, and four times as long for twice that.
TEST(BpeMerger, LongRunsOfOneLetterAreNotQuadratic) {
  std::vector<std::pair<std::string, std::string>> doubling;
  for (std::string run = "a"; run.size() < 1024; run += run) doubling.emplace_back(run, run);
  const BpeMerger merger(make_model(doubling));
  const double one = seconds_for(merger, std::string(1 << 18, 'a'));
  const double two = seconds_for(merger, std::string(1 << 19, 'a'));
  EXPECT_LT(two, 8 * one + 0.5);
  EXPECT_LT(two, 5.0);
  Ids ids;
  merger.encode_piece(std::string(1 << 19, 'a'), ids);
  EXPECT_EQ(ids, Ids(512, 256 + 9));
}

}  // namespace
}  // namespace phalanx
