#include "phalanx/comm/hub_errors.h"

#include <fmt/format.h>

namespace phalanx::comm {
namespace {

std::string list(const std::vector<int>& ranks) {
  return fmt::format("{}", fmt::join(ranks, ", "));
}

int world_rank(const GroupName& group, int rank) {
  return group.world_ranks[static_cast<size_t>(rank)];
}

std::string label(const GroupName& group, const Description& what, int64_t sequence) {
  return fmt::format("{} #{} of group '{}'", describe(what, group.world_ranks), sequence, group.name);
}

}  // namespace

Description seen_by(const Operation& operation, int rank) {
  Description what = operation.what;
  const bool sends = what.kind == OpKind::kSend;
  if ((sends || what.kind == OpKind::kRecv) && rank != operation.first) {
    what.kind = sends ? OpKind::kRecv : OpKind::kSend;
    what.peer = operation.first;
  }
  return what;
}

ErrorParts contradiction(const GroupName& group, const Operation& operation, int rank,
                         const Description& what) {
  return {.where = fmt::format("group '{}', operation #{}", group.name, operation.sequence),
          .got = fmt::format("{} on rank {} and {} on rank {}", describe(what, group.world_ranks),
                             world_rank(group, rank), describe(operation.what, group.world_ranks),
                             world_rank(group, operation.first)),
          .needed = "the same operation, shape and dtype on every rank",
          .fix = "issue the operations of a group in one order on all its ranks"};
}

std::optional<ErrorParts> uneven_rows(const GroupName& group, const Operation& operation) {
  if (operation.what.kind != OpKind::kAllToAll) return std::nullopt;
  const size_t n = operation.parts.size();
  for (size_t from = 0; from < n; ++from) {
    for (size_t to = 0; to < n; ++to) {
      const int64_t sent = operation.parts[from].in_counts[to];
      const int64_t expected = operation.parts[to].out_counts[from];
      if (sent == expected) continue;
      return ErrorParts{
          .where = label(group, operation.what, operation.sequence),
          .got = fmt::format("{} elements from rank {} for rank {}", sent, group.world_ranks[from],
                             group.world_ranks[to]),
          .needed = fmt::format("the {} elements that rank {} expects", expected, group.world_ranks[to]),
          .fix = "exchange the row counts before the rows"};
    }
  }
  return std::nullopt;
}

ErrorParts late(const GroupName& group, const Operation& operation, int rank, double seconds,
                const std::string& missing) {
  return {.where = fmt::format("rank {}, {}", world_rank(group, rank),
                               label(group, seen_by(operation, rank), operation.sequence)),
          .got = fmt::format("no {} within {:.3g} s", missing, seconds),
          .needed = "all of ranks " + list(group.world_ranks),
          .fix = "see what the missing rank does; raise the deadline where it is only slow"};
}

ErrorParts ended(const GroupName& group, const Operation& operation, const std::string& missing) {
  return {.where = fmt::format("rank {}, {}", world_rank(group, operation.first),
                               label(group, operation.what, operation.sequence)),
          .got = "no " + missing,
          .needed = "all of ranks " + list(group.world_ranks),
          .fix = "issue the same operations on every rank of a group"};
}

std::string dropped(const GroupName& group, const Operation& operation, int rank) {
  return fmt::format("rank {} gave up {} without waiting for it", world_rank(group, rank),
                     label(group, seen_by(operation, rank), operation.sequence));
}

ErrorParts quote(const GroupName& group, int rank, const Description& what, int64_t sequence,
                 const std::string& cause) {
  return {.where = fmt::format("rank {}, {}", world_rank(group, rank), label(group, what, sequence)),
          .got = "a failure elsewhere: " + cause};
}

}  // namespace phalanx::comm
