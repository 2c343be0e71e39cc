#include "phalanx/data/recall_tasks.h"

#include <algorithm>
#include <array>
#include <numeric>

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/base/philox.h"
#include "phalanx/data/recall_words.h"

namespace phalanx {
namespace {

constexpr int64_t kFewShots = 2;
constexpr int64_t kMostWords = 1 << 16;
constexpr std::array<std::string_view, 5> kNames = {"phonebook", "phonebook_reversed", "copy",
                                                    "associative_recall", "phonebook_lookup"};

// The words of one sample: the step of the counter is the index, whose bits beyond a step go to the element; the layer
// is the part and the task.
class Draws {
 public:
  Draws(const RecallStream& stream, RecallTask task, int64_t index)
      : key_{.seed = stream.seed,
             .purpose = RandomPurpose::kRecallTask,
             .step = index % kSteps,
             .layer = stream.part * 16 + static_cast<int32_t>(task)},
        next_(static_cast<uint64_t>(index / kSteps) << kWordBits) {}

  // Uniform in [low, high].
  int64_t between(int64_t low, int64_t high) {
    if (next_ % 4 == 0) block_ = philox_block(key_, next_ / 4);
    const uint64_t word = block_[next_++ % 4];
    return low + static_cast<int64_t>((word * static_cast<uint64_t>(high - low + 1)) >> 32);
  }

  template <typename T>
  const T& one_of(std::span<const T> list) {
    return list[static_cast<size_t>(between(0, static_cast<int64_t>(list.size()) - 1))];
  }

  // `count` of the numbers 0 .. size - 1, each at most once, in drawn order.
  std::vector<int64_t> some_of(int64_t size, int64_t count) {
    std::vector<int64_t> all(static_cast<size_t>(size));
    std::iota(all.begin(), all.end(), 0);
    for (int64_t i = 0; i < count; ++i)
      std::swap(all[static_cast<size_t>(i)], all[static_cast<size_t>(between(i, size - 1))]);
    all.resize(static_cast<size_t>(count));
    return all;
  }

 private:
  static constexpr int64_t kSteps = int64_t{1} << 40;
  static constexpr int kWordBits = 26;  // a sample takes fewer words than 2^26
  RandomKey key_;
  uint64_t next_ = 0;
  PhiloxBlock block_{};
};

struct Entry {
  std::string key;
  std::string value;
};

std::vector<Entry> draw_book(Draws& draws, int64_t size) {
  const auto first = first_names(), last = last_names();
  std::vector<Entry> book;
  std::vector<bool> taken(first.size() * last.size());
  while (static_cast<int64_t>(book.size()) < size) {
    const auto name = static_cast<size_t>(draws.between(0, static_cast<int64_t>(taken.size()) - 1));
    if (taken[name]) continue;
    taken[name] = true;
    Entry entry;
    entry.key = fmt::format("{} {}", first[name / last.size()], last[name % last.size()]);
    const int64_t area = draws.between(200, 999);
    const int64_t exchange = draws.between(200, 999);
    entry.value = fmt::format("{}-{}-{}", area, exchange, draws.between(1000, 9999));
    book.push_back(std::move(entry));
  }
  return book;
}

// `count` entries other than `depth`, then that one.
std::vector<const Entry*> draw_asked(Draws& draws, const std::vector<Entry>& book, int64_t depth,
                                     int64_t count) {
  std::vector<const Entry*> asked;
  for (int64_t other : draws.some_of(static_cast<int64_t>(book.size()) - 1, count)) {
    if (other >= depth) ++other;
    asked.push_back(&book[static_cast<size_t>(other)]);
  }
  asked.push_back(&book[static_cast<size_t>(depth)]);
  return asked;
}

void add_text(RecallSample& sample, std::string_view text) {
  if (sample.segments.empty() || sample.segments.back().counts_in_loss) sample.segments.emplace_back();
  sample.segments.back().text += text;
}

void add_answer(RecallSample& sample, std::string_view before, const std::string& answer) {
  sample.segments.push_back({.text = fmt::format("{}{}\n", before, answer), .counts_in_loss = true});
  sample.answer = answer;
}

void add_lines(RecallSample& sample, std::span<const Entry> book, std::string_view between) {
  for (const Entry& entry : book) add_text(sample, fmt::format("{}{}{}\n", entry.key, between, entry.value));
}

void fill_phonebook(RecallSample& sample, Draws& draws, int64_t questions) {
  const std::vector<Entry> book = draw_book(draws, sample.entries);
  const auto asked = draw_asked(draws, book, sample.depth, kFewShots + questions - 1);
  add_lines(sample, book, ": ");
  add_text(sample, "\n");
  for (size_t i = 0; i < asked.size(); ++i) {
    add_text(sample, fmt::format("What is the phone number for {}?\nAnswer:", asked[i]->key));
    if (static_cast<int64_t>(i) < kFewShots) {
      add_text(sample, fmt::format(" {}\n", asked[i]->value));
    } else {
      add_answer(sample, " ", asked[i]->value);
    }
  }
}

// "A", "A and B", "A, B and C".
std::string listed(std::span<const Entry* const> asked) {
  std::string text;
  for (size_t i = 0; i < asked.size(); ++i) {
    if (i > 0) text += i + 1 == asked.size() ? " and " : ", ";
    text += asked[i]->key;
  }
  return text;
}

void fill_reversed(RecallSample& sample, Draws& draws, int64_t questions) {
  std::vector<Entry> book = draw_book(draws, sample.entries + kFewShots);
  const std::vector<Entry> examples(book.end() - kFewShots, book.end());
  book.resize(static_cast<size_t>(sample.entries));
  const auto asked = draw_asked(draws, book, sample.depth, questions - 1);
  const std::string names = listed(asked);
  add_text(sample, "Given a phone book with entries of the form:\n");
  add_lines(sample, examples, ": ");
  add_text(sample, fmt::format("... and so on.\nPlease find the phone number for {}.\n"
                               "I will ask you for this phone number later.\n"
                               "Memorize it so you can respond correctly.\nRemember {}.\n"
                               "Here is the phonebook:\n\n",
                               names, names));
  add_lines(sample, book, ": ");
  add_text(sample, "Okay, that is the end of the phonebook.\n");
  for (const Entry* entry : asked) {
    add_text(sample, fmt::format("Remember when I asked you to memorize the phone number for {}?\n"
                                 "What is the phone number for {}?",
                                 entry->key, entry->key));
    add_answer(sample, " ", entry->value);
  }
}

// Lines of key, `between` and value; then keys again, and their values as answers.
void fill_lookup(RecallSample& sample, Draws& draws, const std::vector<Entry>& lines,
                 std::string_view between, int64_t questions) {
  const auto asked = draw_asked(draws, lines, sample.depth, questions - 1);
  add_lines(sample, lines, between);
  add_text(sample, "\n");
  for (const Entry* entry : asked) {
    add_text(sample, fmt::format("{}{}", entry->key, between.substr(0, between.size() - 1)));
    add_answer(sample, " ", entry->value);
  }
}

void fill_copy(RecallSample& sample, Draws& draws) {
  std::string line;
  for (int64_t i = 0; i < sample.entries; ++i) {
    if (i > 0) line += ' ';
    line += draws.one_of(common_words());
  }
  add_text(sample, line + "\n");
  add_answer(sample, "", line);
}

std::vector<Entry> draw_pairs(Draws& draws, int64_t size) {
  const auto words = common_words();
  std::vector<Entry> pairs;
  for (const int64_t key : draws.some_of(static_cast<int64_t>(words.size()), size))
    pairs.push_back({.key = std::string(words[static_cast<size_t>(key)]), .value = ""});
  for (Entry& pair : pairs) pair.value = draws.one_of(words);
  return pairs;
}

}  // namespace

std::string_view recall_task_name(RecallTask task) {
  return kNames[static_cast<size_t>(task)];
}

std::span<const std::string_view> recall_task_names() {
  return kNames;
}

int64_t most_entries(RecallTask task) {
  if (task == RecallTask::kCopy) return kMostWords;
  if (task == RecallTask::kAssociativeRecall) return static_cast<int64_t>(common_words().size());
  return static_cast<int64_t>(first_names().size() * last_names().size() /
                              2);  // beyond, draws seldom hit a free name
}

int64_t fewest_entries(RecallTask task, int64_t questions) {
  if (task == RecallTask::kCopy) return 1;
  return questions + (task == RecallTask::kPhonebook ? kFewShots : 0);
}

RecallSample make_recall_sample(const RecallTaskSpec& spec, const RecallStream& stream, int64_t index) {
  PHALANX_CHECK(index >= 0 && index < kMaxRecallIndex, "indices of recall tasks lie in [0, 2^50)");
  PHALANX_CHECK(spec.questions > 0 && spec.min_entries >= fewest_entries(spec.task, spec.questions) &&
                    spec.min_entries <= spec.max_entries && spec.max_entries <= most_entries(spec.task),
                "the sizes of a recall task were checked before");
  Draws draws(stream, spec.task, index);
  RecallSample sample;
  sample.entries = draws.between(spec.min_entries, spec.max_entries);
  sample.depth = spec.task == RecallTask::kCopy ? 0 : index % sample.entries;
  switch (spec.task) {
    case RecallTask::kPhonebook:
      fill_phonebook(sample, draws, spec.questions);
      break;
    case RecallTask::kPhonebookReversed:
      fill_reversed(sample, draws, spec.questions);
      break;
    case RecallTask::kCopy:
      fill_copy(sample, draws);
      break;
    case RecallTask::kAssociativeRecall:
      fill_lookup(sample, draws, draw_pairs(draws, sample.entries), " ", spec.questions);
      break;
    case RecallTask::kPhonebookLookup:
      fill_lookup(sample, draws, draw_book(draws, sample.entries), ": ", spec.questions);
      break;
  }
  for (size_t i = 0; i + 1 < sample.segments.size(); ++i) sample.prompt += sample.segments[i].text;
  if (spec.loss_on_all) {
    for (TaskSegment& segment : sample.segments) segment.counts_in_loss = true;
  }
  return sample;
}

}  // namespace phalanx
