// File: phalanx/comm/hub_errors.h
//
// Purpose: what the hub of a group says when its ranks do not meet.
// Contract: every text names the group, the operation, its sequence number and the world ranks that matter.
#pragma once

#include <optional>
#include <string>

#include "phalanx/base/error.h"
#include "phalanx/comm/operation.h"
#include "phalanx/comm/progress.h"

namespace phalanx::comm {

// Which group speaks.
struct GroupName {
  const std::string& name;
  const std::vector<int>& world_ranks;
};

// An operation as one of its ranks called it: the two sides of a message see it differently.
Description seen_by(const Operation& operation, int rank);

// `rank` comes with another operation than the ranks before it.
ErrorParts contradiction(const GroupName& group, const Operation& operation, int rank,
                         const Description& what);

// An all_to_all in which a rank sends another number of elements than its receiver expects, if it does.
std::optional<ErrorParts> uneven_rows(const GroupName& group, const Operation& operation);

// `rank` has waited for `seconds`; `missing` are the last words of those who have not come.
ErrorParts late(const GroupName& group, const Operation& operation, int rank, double seconds,
                const std::string& missing);

// A rank that has ended is waited for.
ErrorParts ended(const GroupName& group, const Operation& operation, const std::string& missing);

// `rank` forgets an operation that it has started.
std::string dropped(const GroupName& group, const Operation& operation, int rank);

// What a rank throws whose operation cannot go on because of `cause`, another failure.
ErrorParts quote(const GroupName& group, int rank, const Description& what, int64_t sequence,
                 const std::string& cause);

}  // namespace phalanx::comm
