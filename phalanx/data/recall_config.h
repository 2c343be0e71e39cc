// File: phalanx/data/recall_config.h
//
// Purpose: recall tasks as text, the entries of data.tasks: a name, then settings as key=value between spaces.
//   "phonebook entries=8..32 questions=4 weight=2"      8 to 32 lines of a book, four of them asked for
//   "phonebook_reversed entries=16"                     always 16
//   "copy words=16..64 loss=all"                        every token counts in the loss, not only the answer
//   "associative_recall pairs=4..16 questions=2"
//   "phonebook_lookup entries=2..8 questions=2"
// Contract: entries, words or pairs, by the task, must be there; questions is 1, weight 1 and loss `answers` where they
//   are not. Weights are relative: the share of texts of that task. `where` names the text for errors.
// Errors: Error(kBadInput) for an unknown task or key with the nearest known one, a key given twice, a range whose end
//   is before its begin, more entries than the task has names or words for, fewer than its questions need, a weight
//   that is no positive finite number.
// Example: parse_recall_task("phonebook entries=8..32", "data.tasks, entry 1")
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "phalanx/data/recall_tasks.h"

namespace phalanx {

// The key that says how large a sample is: entries, words or pairs.
std::string_view recall_size_key(RecallTask task);

RecallTaskSpec parse_recall_task(std::string_view text, const std::string& where);

// Each entry of a list; errors name its number, from 1.
std::vector<RecallTaskSpec> parse_recall_tasks(std::span<const std::string> texts, const std::string& where);

}  // namespace phalanx
