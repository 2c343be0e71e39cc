// File: phalanx/comm/timed_group.h
//
// Purpose: how long a rank stands still for others: the exposed part of communication.
// Contract: wraps a group and changes nothing; the time between entering and leaving wait(), barrier() and the blocking
//   forms is added to the clock. Used by one thread at a time, that of its rank.
// Units: seconds.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "phalanx/comm/group.h"

namespace phalanx::comm {

struct CommClock {
  double exposed = 0;
  bool keeps_waits = false;
  std::vector<std::pair<double, double>> waits;  // with keeps_waits: monotonic time of each, begin and end

  void add(double begin, double end) {
    exposed += end - begin;
    if (keeps_waits) waits.emplace_back(begin, end);
  }
};

// `clock` outlives the group. A group of one is handed back as it is.
std::unique_ptr<Group> make_timed_group(std::unique_ptr<Group> group, CommClock* clock);

}  // namespace phalanx::comm
