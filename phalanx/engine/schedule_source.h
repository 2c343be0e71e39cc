// File: phalanx/engine/schedule_source.h
//
// Purpose: the schedules of a run, each made once: steps and evaluations may have different numbers of micro-batches.
// Contract: of() makes (or reads and verifies) what it has not got, and keeps it. A schedule file is for one number of
//   micro-batches; an evaluation of another number runs forward on the file's placement, micro-batch after micro-batch.
// Errors: those of make_schedule and read_schedule_file.
#pragma once

#include <map>
#include <string>
#include <utility>

#include "phalanx/pipeline/schedule.h"

namespace phalanx {

struct ScheduleShape {
  std::string kind = "1f1b";  // a name, or a file
  int pp = 1;
  int chunks = 1;
};

class ScheduleSource {
 public:
  explicit ScheduleSource(ScheduleShape shape) : shape_(std::move(shape)) {}
  const Schedule& of(int micro_batches, bool forward_only);

 private:
  Schedule make(int micro_batches, bool forward_only) const;

  ScheduleShape shape_;
  std::map<std::pair<int, bool>, Schedule> made_;  // by micro-batches and whether forward only
};

}  // namespace phalanx
