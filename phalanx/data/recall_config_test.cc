#include "phalanx/data/recall_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;

TEST(RecallConfig, EveryTaskAndSetting) {
  EXPECT_EQ(
      parse_recall_task("phonebook entries=8..32 questions=4 weight=2", "x"),
      (RecallTaskSpec{
          .task = RecallTask::kPhonebook, .min_entries = 8, .max_entries = 32, .questions = 4, .weight = 2}));
  EXPECT_EQ(parse_recall_task("  phonebook_reversed\tentries=16 ", "x"),
            (RecallTaskSpec{.task = RecallTask::kPhonebookReversed, .min_entries = 16, .max_entries = 16}));
  EXPECT_EQ(
      parse_recall_task("copy loss=all words=1..64", "x"),
      (RecallTaskSpec{.task = RecallTask::kCopy, .min_entries = 1, .max_entries = 64, .loss_on_all = true}));
  EXPECT_EQ(parse_recall_task("associative_recall pairs=2 questions=2 weight=0.25 loss=answers", "x"),
            (RecallTaskSpec{.task = RecallTask::kAssociativeRecall,
                            .min_entries = 2,
                            .max_entries = 2,
                            .questions = 2,
                            .weight = 0.25}));
  const std::vector<std::string> two = {"copy words=3", "phonebook entries=9"};
  EXPECT_EQ(parse_recall_tasks(two, "x").size(), 2u);
}

TEST(RecallConfig, SaysWhatIsWrong) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {"", "got an empty text; needed a task and its sizes"},
      {"phonbook entries=8",
       "got task 'phonbook'; needed phonebook, phonebook_reversed, copy, associative_recall, "
       "phonebook_lookup. Fix: did you mean phonebook?"},
      {"recall", "got task 'recall'"},
      {"phonebook", "got phonebook without entries; needed entries=N or entries=MIN..MAX"},
      {"copy entries=8",
       "got 'entries=8'; needed settings of copy: words, loss, weight. Fix: use one of these"},
      {"copy words=8 questions=2", "got 'questions=2'"},
      {"phonebook entrie=8",
       "got 'entrie=8'; needed settings of phonebook: entries, questions, loss, weight. "
       "Fix: did you mean entries?"},
      {"phonebook entries=8 entries=9", "got entries twice; needed each setting once"},
      {"phonebook entries", "got entries; needed a whole number"},
      {"phonebook entries=", "got entries=; needed a whole number"},
      {"phonebook entries=0", "got entries=0; needed a whole number of 1 or more"},
      {"phonebook entries=-3", "got entries=-3"},
      {"phonebook entries=8..", "got entries=8..; needed a whole number of 1 or more, or MIN..MAX"},
      {"phonebook entries=8...9", "got entries=8...9"},
      {"phonebook entries=8-32", "got entries=8-32"},
      {"phonebook entries=99999999999999999999", "got entries=99999999999999999999"},
      {"phonebook entries=32..8",
       "got entries=32..8; needed a range from the smaller number to the larger one. Fix: entries=8..32"},
      {"phonebook entries=9 questions=2..3", "got questions=2..3; needed a whole number"},
      {"phonebook entries=9 weight=0",
       "got weight=0; needed a positive finite number. Fix: leave the task out"},
      {"phonebook entries=9 weight=-1", "got weight=-1"},
      {"phonebook entries=9 weight=nan", "got weight=nan"},
      {"phonebook entries=9 weight=inf", "got weight=inf"},
      {"phonebook entries=9 weight=2x", "got weight=2x"},
      {"phonebook entries=9 weight=1e999", "got weight=1e999"},
      {"phonebook entries=9 loss=some", "got loss=some; needed loss=answers or loss=all"},
      {"phonebook entries=2",
       "got entries from 2 with questions=1; needed at least 3 entries, as each question asks "
       "another one and two more are asked as examples. Fix: raise entries or lower questions"},
      {"associative_recall pairs=2..9 questions=3",
       "got pairs from 2 with questions=3; needed at least 3 pairs"},
      {"associative_recall pairs=9999", "got pairs=..9999; needed at most 260 pairs"},
      {"phonebook entries=10..9999", "got entries=..9999; needed at most 6840 entries"},
  };
  for (const auto& [text, words] : cases) {
    try {
      parse_recall_tasks(std::vector<std::string>{"copy words=2", text}, "data.tasks");
      ADD_FAILURE() << "no error for " << text;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kBadInput);
      EXPECT_THAT(e.what(), HasSubstr(std::string("data.tasks, entry 2: ") + words));
    }
  }
  const std::vector<std::string> huge(2, "copy words=2 weight=1e308");
  EXPECT_THROW(parse_recall_tasks(huge, "data.tasks"), Error);
}

}  // namespace
}  // namespace phalanx
