#include "phalanx/data/recall_config.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "phalanx/base/error.h"
#include "phalanx/data/words.h"

namespace phalanx {
namespace {

template <typename Names>
std::string hint(const std::string& name, const Names& known) {
  const std::string near = nearest_name(name, known);
  return near.empty() ? "use one of these" : fmt::format("did you mean {}?", near);
}

RecallTask task_of(const std::string& name, const std::string& where) {
  const auto known = recall_task_names();
  const auto at = std::find(known.begin(), known.end(), name);
  if (at == known.end()) {
    bad_input(where, fmt::format("task '{}'", name), fmt::format("{}", fmt::join(known, ", ")),
              hint(name, known));
  }
  return static_cast<RecallTask>(at - known.begin());
}

int64_t count_of(std::string_view text, const std::string& word, const std::string& where) {
  int64_t value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || stop != text.data() + text.size() || value < 1) {
    bad_input(where, word, "a whole number of 1 or more, or MIN..MAX where a range can be",
              "change the number");
  }
  return value;
}

void set_size(RecallTaskSpec& spec, std::string_view value, const std::string& word,
              const std::string& where) {
  const size_t dots = value.find("..");
  spec.min_entries = count_of(value.substr(0, dots), word, where);
  spec.max_entries =
      dots == std::string_view::npos ? spec.min_entries : count_of(value.substr(dots + 2), word, where);
  if (spec.min_entries > spec.max_entries) {
    bad_input(where, word, "a range from the smaller number to the larger one",
              fmt::format("{}={}..{}", recall_size_key(spec.task), spec.max_entries, spec.min_entries));
  }
}

double weight_of(std::string_view value, const std::string& word, const std::string& where) {
  double weight = 0;
  const auto [stop, error] = std::from_chars(value.data(), value.data() + value.size(), weight);
  const bool number = error == std::errc() && stop == value.data() + value.size();
  if (!number || !std::isfinite(weight) || weight <= 0) {
    bad_input(where, word, "a positive finite number",
              number && weight == 0 ? "leave the task out" : "change the weight");
  }
  return weight;
}

bool loss_of(std::string_view value, const std::string& word, const std::string& where) {
  if (value != "all" && value != "answers")
    bad_input(where, word, "loss=answers or loss=all", "use one of these");
  return value == "all";
}

std::vector<std::string> keys_of(RecallTask task) {
  std::vector<std::string> keys = {std::string(recall_size_key(task))};
  if (task != RecallTask::kCopy) keys.emplace_back("questions");
  keys.insert(keys.end(), {"loss", "weight"});
  return keys;
}

void check_sizes(const RecallTaskSpec& spec, const std::string& where) {
  const std::string_view key = recall_size_key(spec.task);
  const int64_t fewest = fewest_entries(spec.task, spec.questions), most = most_entries(spec.task);
  if (spec.max_entries > most) {
    bad_input(where, fmt::format("{}=..{}", key, spec.max_entries), fmt::format("at most {} {}", most, key),
              "lower the number");
  }
  if (spec.min_entries < fewest) {
    const bool shots = spec.task == RecallTask::kPhonebook;
    bad_input(where, fmt::format("{} from {} with questions={}", key, spec.min_entries, spec.questions),
              fmt::format("at least {} {}, as each question asks another one{}", fewest, key,
                          shots ? " and two more are asked as examples" : ""),
              fmt::format("raise {} or lower questions", key));
  }
}

}  // namespace

std::string_view recall_size_key(RecallTask task) {
  if (task == RecallTask::kCopy) return "words";
  return task == RecallTask::kAssociativeRecall ? "pairs" : "entries";
}

RecallTaskSpec parse_recall_task(std::string_view text, const std::string& where) {
  const std::vector<std::string> words = words_of(text);
  if (words.empty()) {
    bad_input(where, "an empty text", "a task and its sizes, as in 'phonebook entries=8..32'",
              "name a task or drop the entry");
  }
  RecallTaskSpec spec{.task = task_of(words[0], where)};
  const std::vector<std::string> known = keys_of(spec.task);
  std::vector<std::string> seen;
  for (size_t i = 1; i < words.size(); ++i) {
    const std::string& word = words[i];
    const std::string key = word.substr(0, word.find('='));
    const std::string_view value = std::string_view(word).substr(std::min(key.size() + 1, word.size()));
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      bad_input(where, fmt::format("'{}'", word),
                fmt::format("settings of {}: {}", words[0], fmt::join(known, ", ")), hint(key, known));
    }
    if (std::find(seen.begin(), seen.end(), key) != seen.end())
      bad_input(where, fmt::format("{} twice", key), "each setting once", "keep one of them");
    seen.push_back(key);
    if (key == known[0]) set_size(spec, value, word, where);
    if (key == "questions") spec.questions = count_of(value, word, where);
    if (key == "loss") spec.loss_on_all = loss_of(value, word, where);
    if (key == "weight") spec.weight = weight_of(value, word, where);
  }
  if (spec.max_entries == 0) {
    bad_input(where, fmt::format("{} without {}", words[0], known[0]),
              fmt::format("{0}=N or {0}=MIN..MAX", known[0]), "say how large a sample is");
  }
  check_sizes(spec, where);
  return spec;
}

std::vector<RecallTaskSpec> parse_recall_tasks(std::span<const std::string> texts, const std::string& where) {
  std::vector<RecallTaskSpec> specs;
  double sum = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    specs.push_back(parse_recall_task(texts[i], fmt::format("{}, entry {}", where, i + 1)));
    sum += specs.back().weight;
  }
  if (!std::isfinite(sum))
    bad_input(where, fmt::format("weights with the sum {}", sum), "a finite sum", "use smaller weights");
  return specs;
}

}  // namespace phalanx
