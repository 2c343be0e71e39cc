#include "phalanx/data/recall_tasks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "phalanx/data/recall_config.h"
#include "phalanx/data/recall_words.h"
#include "phalanx/tokenizer/pretokenizer.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;
using ::testing::MatchesRegex;

RecallSample sample_of(const std::string& task, int64_t index, RecallStream stream = {.seed = 7}) {
  return make_recall_sample(parse_recall_task(task, "test"), stream, index);
}

std::string text_of(const RecallSample& sample) {
  std::string text;
  for (const TaskSegment& segment : sample.segments) text += segment.text;
  return text;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

// The lines of the book or the pairs: those before the first empty one, or after it in the reversed wording.
std::vector<std::string> entries_of(const RecallSample& sample, bool reversed = false) {
  std::vector<std::string> lines = lines_of(text_of(sample));
  const auto blank = std::find(lines.begin(), lines.end(), "");
  if (!reversed) return {lines.begin(), blank};
  return {blank + 1, std::find(blank, lines.end(), "Okay, that is the end of the phonebook.")};
}

// Frozen: every set that was made depends on these texts.
TEST(RecallTasks, KnownTexts) {
  const RecallSample standard = sample_of("phonebook entries=3", 5);
  EXPECT_EQ(standard.prompt,
            "Karen Morris: 676-490-3431\n"
            "Dorothy Dixon: 250-778-2245\n"
            "Gloria Smith: 812-666-2572\n"
            "\n"
            "What is the phone number for Karen Morris?\n"
            "Answer: 676-490-3431\n"
            "What is the phone number for Dorothy Dixon?\n"
            "Answer: 250-778-2245\n"
            "What is the phone number for Gloria Smith?\n"
            "Answer:");
  EXPECT_EQ(standard.answer, "812-666-2572");
  EXPECT_EQ(standard.entries, 3);
  EXPECT_EQ(standard.depth, 2);
  EXPECT_EQ(text_of(sample_of("phonebook_reversed entries=2..5 questions=2", 4)),
            "Given a phone book with entries of the form:\n"
            "Margaret Nelson: 424-252-3829\n"
            "Emma Chapman: 824-311-9943\n"
            "... and so on.\n"
            "Please find the phone number for Susan Howell and Kevin Murphy.\n"
            "I will ask you for this phone number later.\n"
            "Memorize it so you can respond correctly.\n"
            "Remember Susan Howell and Kevin Murphy.\n"
            "Here is the phonebook:\n"
            "\n"
            "Alice Garcia: 730-919-6938\n"
            "Kevin Murphy: 368-496-8480\n"
            "Susan Howell: 865-784-9999\n"
            "Okay, that is the end of the phonebook.\n"
            "Remember when I asked you to memorize the phone number for Susan Howell?\n"
            "What is the phone number for Susan Howell? 865-784-9999\n"
            "Remember when I asked you to memorize the phone number for Kevin Murphy?\n"
            "What is the phone number for Kevin Murphy? 368-496-8480\n");
  EXPECT_EQ(text_of(sample_of("copy words=4..6", 1)),
            "carrot lemon paper angle bottle boat\n"
            "carrot lemon paper angle bottle boat\n");
  EXPECT_EQ(text_of(sample_of("associative_recall pairs=3 questions=2", 1)),
            "lamp satin\n"
            "pebble tiger\n"
            "diamond mirror\n"
            "\n"
            "diamond mirror\n"
            "pebble tiger\n");
}

TEST(RecallTasks, KnownLookup) {
  const RecallSample sample = sample_of("phonebook_lookup entries=3 questions=2", 1);
  const std::vector<std::string> book = entries_of(sample);
  ASSERT_EQ(book.size(), 3u);
  const std::vector<std::string> lines = lines_of(text_of(sample));
  ASSERT_EQ(lines.size(), 6u) << "three lines, a blank one, two of the three again";
  EXPECT_EQ(lines[5], book[static_cast<size_t>(sample.depth)]);
  EXPECT_NE(lines[4], lines[5]);
  EXPECT_EQ(std::count(book.begin(), book.end(), lines[4]), 1);
  EXPECT_TRUE(sample.prompt.ends_with(book[1].substr(0, book[1].find(':') + 1)));
  EXPECT_EQ(book[1].substr(book[1].find(": ") + 2), sample.answer);
  EXPECT_EQ(sample_of("phonebook_lookup entries=1", 0).entries, 1);
}

TEST(RecallTasks, ListsHaveEachWordOnce) {
  for (const auto list : {first_names(), last_names(), common_words()}) {
    EXPECT_GE(list.size(), 100u);
    EXPECT_EQ(std::set<std::string_view>(list.begin(), list.end()).size(), list.size());
    for (const std::string_view word : list) {
      EXPECT_THAT(std::string(word),
                  MatchesRegex(list.data() == common_words().data() ? "[a-z]+" : "[A-Z][a-z]+"));
    }
  }
}

TEST(RecallTasks, BooksHaveUniqueNamesAndNumbersInTheirRanges) {
  std::set<int> areas, exchanges, ends;
  std::map<int64_t, int> sizes;
  for (int64_t index = 0; index < 400; ++index) {
    const RecallSample sample = sample_of("phonebook entries=20..29", index);
    ++sizes[sample.entries];
    const std::vector<std::string> book = entries_of(sample);
    ASSERT_EQ(static_cast<int64_t>(book.size()), sample.entries);
    std::set<std::string> names;
    for (const std::string& line : book) {
      ASSERT_THAT(line, MatchesRegex("[A-Z][a-z]+ [A-Z][a-z]+: [0-9]{3}-[0-9]{3}-[0-9]{4}"));
      const size_t colon = line.find(": ");
      EXPECT_TRUE(names.insert(line.substr(0, colon)).second) << line;
      areas.insert(std::stoi(line.substr(colon + 2, 3)));
      exchanges.insert(std::stoi(line.substr(colon + 6, 3)));
      ends.insert(std::stoi(line.substr(colon + 10)));
    }
  }
  EXPECT_EQ(*areas.begin(), 200);
  EXPECT_EQ(*areas.rbegin(), 999);
  EXPECT_EQ(*exchanges.begin(), 200);
  EXPECT_EQ(*exchanges.rbegin(), 999);
  EXPECT_GE(*ends.begin(), 1000);
  EXPECT_GT(*ends.rbegin(), 9900);
  ASSERT_EQ(sizes.size(), 10u) << "every size of the range";
  for (const auto& [size, count] : sizes) EXPECT_NEAR(count, 40, 24) << size;  // 4 standard deviations
}

TEST(RecallTasks, TheLargestBookStillHasUniqueNames) {
  const int64_t most = most_entries(RecallTask::kPhonebookReversed);
  const RecallSample sample = make_recall_sample(
      {.task = RecallTask::kPhonebookReversed, .min_entries = most, .max_entries = most}, {.seed = 1}, 0);
  std::set<std::string> names;
  for (const std::string& line : entries_of(sample, true)) names.insert(line.substr(0, line.find(':')));
  EXPECT_EQ(static_cast<int64_t>(names.size()), most);
}

// Each depth once in as many indices as there are entries; the answer is what stands there.
TEST(RecallTasks, IndicesSweepTheDepths) {
  for (const char* task : {"phonebook entries=11", "phonebook entries=11 questions=5",
                           "phonebook_reversed entries=11", "phonebook_reversed entries=11 questions=4",
                           "associative_recall pairs=11", "associative_recall pairs=11 questions=11"}) {
    const std::string name = task;
    std::vector<int64_t> depths;
    for (int64_t index = 22; index < 33; ++index) {
      const RecallSample sample = sample_of(name, index);
      depths.push_back(sample.depth);
      const auto entries = entries_of(sample, name.starts_with("phonebook_reversed"));
      ASSERT_EQ(entries.size(), 11u) << name;
      const std::string& entry = entries[static_cast<size_t>(sample.depth)];
      EXPECT_TRUE(entry.ends_with(" " + sample.answer)) << name;
      const std::string key = entry.substr(0, entry.size() - sample.answer.size() - 1);
      const std::string last = sample.prompt.substr(sample.prompt.rfind('\n', sample.prompt.size() - 9) + 1);
      EXPECT_THAT(last, ::testing::HasSubstr(key.substr(0, key.find(':')))) << name;
    }
    EXPECT_THAT(depths, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)) << name;
  }
}

// What counts: the answers alone, one a question, each of another entry; few-shot lines are of other entries, too.
TEST(RecallTasks, EveryQuestionAsksAnotherEntry) {
  for (int64_t index = 0; index < 50; ++index) {
    const RecallSample sample = sample_of("phonebook entries=6 questions=4", index);
    const std::vector<std::string> book = entries_of(sample);
    ASSERT_EQ(sample.segments.size(), 8u);
    for (size_t i = 0; i < 8; ++i) {
      EXPECT_EQ(sample.segments[i].counts_in_loss, i % 2 == 1);
      if (i % 2 == 0) continue;
      EXPECT_TRUE(std::any_of(book.begin(), book.end(), [&](const std::string& line) {
        return line.substr(line.find(' ', line.find(':'))) + "\n" == sample.segments[i].text;
      }));
    }
    std::set<std::string> asked;
    int questions = 0;
    for (const std::string& line : lines_of(text_of(sample))) {
      if (!line.starts_with("What is the phone number for ")) continue;
      asked.insert(line);
      ++questions;
    }
    EXPECT_EQ(questions, 6) << "two few-shot lines and four questions";
    EXPECT_EQ(asked.size(), 6u);
    EXPECT_EQ(sample.prompt + " " + sample.answer + "\n", text_of(sample));
  }
}

TEST(RecallTasks, AllTokensCountWhereTheyAreToldTo) {
  const RecallSample all = sample_of("phonebook entries=6 questions=2 loss=all", 3);
  const RecallSample answers = sample_of("phonebook entries=6 questions=2", 3);
  ASSERT_EQ(all.segments.size(), answers.segments.size());
  for (size_t i = 0; i < all.segments.size(); ++i) {
    EXPECT_TRUE(all.segments[i].counts_in_loss);
    EXPECT_EQ(all.segments[i].text, answers.segments[i].text) << "the same cuts, hence the same tokens";
  }
  EXPECT_EQ(all.prompt, answers.prompt);
}

TEST(RecallTasks, TheReversedExamplesAreNotOfTheBook) {
  for (int64_t index = 0; index < 50; ++index) {
    const RecallSample sample = sample_of("phonebook_reversed entries=8", index);
    const std::vector<std::string> lines = lines_of(text_of(sample));
    const std::vector<std::string> book = entries_of(sample, true);
    for (const size_t example : {1u, 2u}) {
      const std::string name = lines[example].substr(0, lines[example].find(':') + 1);
      for (const std::string& line : book) EXPECT_FALSE(line.starts_with(name));
    }
  }
}

TEST(RecallTasks, CopiesAndKeys) {
  for (int64_t index = 0; index < 50; ++index) {
    const RecallSample copy = sample_of("copy words=3..9", index);
    EXPECT_EQ(copy.prompt, copy.answer + "\n");
    EXPECT_EQ(std::count(copy.answer.begin(), copy.answer.end(), ' ') + 1, copy.entries);
    EXPECT_EQ(copy.depth, 0);
    std::set<std::string> keys;
    const RecallSample pairs = sample_of("associative_recall pairs=260", index);
    for (const std::string& line : entries_of(pairs)) keys.insert(line.substr(0, line.find(' ')));
    EXPECT_EQ(keys.size(), 260u);
  }
}

TEST(RecallTasks, PartsSeedsTasksAndIndicesDrawApart) {
  std::set<std::string> books;
  int made = 0;
  const auto add = [&](const std::string& task, RecallStream stream, int64_t index) {
    std::string book;
    for (const std::string& line : entries_of(sample_of(task, index, stream), task != "phonebook entries=8"))
      book += line + "\n";
    books.insert(book);
    ++made;
  };
  for (const int64_t index : {int64_t{0}, int64_t{1}, int64_t{1} << 32, int64_t{1} << 40,
                              (int64_t{1} << 40) + 1, int64_t{3} << 40, kMaxRecallIndex - 1}) {
    for (const int32_t part : {0, 1, 2}) {
      for (const uint64_t seed : {0u, 1u, 2u}) {
        add("phonebook entries=8", {.seed = seed, .part = part}, index);
        add("phonebook_reversed entries=8", {.seed = seed, .part = part}, index);
      }
    }
  }
  EXPECT_EQ(static_cast<int>(books.size()), made);
  // And no book of training is in validation, not even a line of it in a few hundred.
  std::set<std::string> lines;
  for (int64_t index = 0; index < 500; ++index) {
    for (const auto& line : entries_of(sample_of("phonebook entries=8", index, {.seed = 3, .part = 0})))
      lines.insert(line);
  }
  for (int64_t index = 0; index < 500; ++index) {
    for (const auto& line : entries_of(sample_of("phonebook entries=8", index, {.seed = 3, .part = 1})))
      EXPECT_FALSE(lines.contains(line)) << line;
  }
}

// BPE merges within pieces only: where segments end at pieces, they have the tokens of the whole text.
TEST(RecallTasks, SegmentsEndWherePiecesEnd) {
  for (const char* task :
       {"phonebook entries=5 questions=3", "phonebook_reversed entries=5 questions=3", "copy words=7",
        "associative_recall pairs=4 questions=3", "phonebook_lookup entries=4 questions=2"}) {
    for (const SplitPattern pattern : {SplitPattern::kGpt2, SplitPattern::kCl100k, SplitPattern::kO200k,
                                       SplitPattern::kLlama3, SplitPattern::kQwen2}) {
      const RecallSample sample = sample_of(task, 2);
      const std::string text = text_of(sample);
      std::vector<uint32_t> whole, parts;
      split_pieces(pattern, text, 0, text.size(), whole);
      uint32_t begin = 0;
      for (const TaskSegment& segment : sample.segments) {
        std::vector<uint32_t> ends;
        split_pieces(pattern, segment.text, 0, segment.text.size(), ends);
        for (const uint32_t end : ends) parts.push_back(begin + end);
        begin += static_cast<uint32_t>(segment.text.size());
      }
      EXPECT_EQ(parts, whole) << task << " pattern " << static_cast<int>(pattern);
    }
  }
}

TEST(RecallTasksDeathTest, SizesAreCheckedBefore) {
  EXPECT_DEATH(make_recall_sample({.min_entries = 2, .max_entries = 2}, {}, 0), "sizes of a recall task");
  EXPECT_DEATH(make_recall_sample({.min_entries = 4, .max_entries = 4}, {}, kMaxRecallIndex), "2.50");
}

}  // namespace
}  // namespace phalanx
