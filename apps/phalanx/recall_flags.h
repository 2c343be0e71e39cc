// File: apps/phalanx/recall_flags.h
//
// Purpose: the flags that name recall tasks, shared by `data tasks` and `eval recall`: --task, --entries, --words, --pairs,
//   --questions, --first, --count, --seed, --part.
// Contract: the grammar and the errors of a task are those of data/recall_config.h. Sizes may be several, with commas.
// Errors: Error(kUsage) for the other flags.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "phalanx/config/flags.h"
#include "phalanx/data/recall_tasks.h"

namespace phalanx::apps {

inline constexpr const char* kRecallFlags[] = {"--task",  "--entries", "--words", "--pairs", "--questions",
                                               "--first", "--count",   "--seed",  "--part"};

// One for each size. `verb` is for the message: "data tasks".
std::vector<RecallTaskSpec> recall_specs(const ParsedFlags& flags, const std::string& verb);

struct RecallRange {
  RecallStream stream;
  int64_t first = 0;
  int64_t count = 0;
};
RecallRange recall_range(const ParsedFlags& flags, const std::string& count);

}  // namespace phalanx::apps
