// File: phalanx/pipeline/verify_report.h
//
// Purpose: what the checks of verify share: the violations found so far, and how an action is named in them.
// Contract: at most kMaxViolations of a kind are kept; `full` lets a check stop early. Each check takes a schedule
//   whose shape and placement are sound, and finds all violations of its kinds that do not follow from a missing action.
#pragma once

#include <string>
#include <vector>

#include "phalanx/pipeline/schedule.h"

namespace phalanx {

enum class Violation { kShape, kPlacement, kOnce, kData, kMessages, kDeadlock, kStash };

class VerifyReport {
 public:
  void add(Violation kind, std::string text);
  bool full(Violation kind) const;
  bool empty() const { return lines_.empty(); }
  std::string text() const;

 private:
  struct Line {
    Violation kind = Violation::kShape;
    std::string text;
  };
  std::vector<Line> lines_;
};

// "rank 1, action 7 (send_b mb 2 chunk 0 to rank 0)"
std::string name_action(const Schedule& schedule, int rank, int position);

void verify_actions(const Schedule& schedule, VerifyReport& report);   // once and data
void verify_messages(const Schedule& schedule, VerifyReport& report);  // sends against receives
void verify_deadlock(const Schedule& schedule, VerifyReport& report);

}  // namespace phalanx
