#include <algorithm>
#include <map>
#include <utility>

#include <fmt/format.h>

#include "phalanx/pipeline/verify_report.h"

namespace phalanx {
namespace {

// The stage that made what a message carries, and the one that needs it.
struct Route {
  int from = 0;
  int to = 0;
  bool operator==(const Route&) const = default;
};

Route route_of(const Schedule& schedule, int rank, const Action& message) {
  const int own = schedule.placement[static_cast<size_t>(rank)][static_cast<size_t>(message.chunk)];
  const int step = is_backward(message.op) ? -1 : 1;
  if (is_send(message.op)) return {.from = own, .to = own + step};
  return {.from = own - step, .to = own};
}

// A message must go to (come from) the rank that holds the neighbouring stage.
void check_peer(const Schedule& schedule, const std::vector<Holder>& by_stage, int rank, int position,
                VerifyReport& report) {
  if (report.full(Violation::kMessages)) return;
  const Action& message = schedule.ranks[static_cast<size_t>(rank)][static_cast<size_t>(position)];
  const Route route = route_of(schedule, rank, message);
  const int other = is_send(message.op) ? route.to : route.from;
  if (other < 0 || other >= schedule.num_stages()) {
    report.add(Violation::kMessages,
               fmt::format("{}: there is no stage {}", name_action(schedule, rank, position), other));
  } else if (by_stage[static_cast<size_t>(other)].rank != message.peer) {
    report.add(Violation::kMessages,
               fmt::format("{}: stage {} is on rank {}", name_action(schedule, rank, position), other,
                           by_stage[static_cast<size_t>(other)].rank));
  }
}

struct Channel {
  std::vector<int> sends;  // positions in the sender's list
  std::vector<int> receives;
};

// The first place where the two ends of a channel differ; what follows would differ by consequence.
void check_channel(const Schedule& schedule, int sender, int receiver, const Channel& channel,
                   VerifyReport& report) {
  if (report.full(Violation::kMessages)) return;
  const size_t both = std::min(channel.sends.size(), channel.receives.size());
  for (size_t i = 0; i < both; ++i) {
    const Action& send = schedule.ranks[static_cast<size_t>(sender)][static_cast<size_t>(channel.sends[i])];
    const Action& receive =
        schedule.ranks[static_cast<size_t>(receiver)][static_cast<size_t>(channel.receives[i])];
    if (send.micro_batch == receive.micro_batch &&
        route_of(schedule, sender, send) == route_of(schedule, receiver, receive)) {
      continue;
    }
    report.add(Violation::kMessages, fmt::format("{} meets {}, which is for another message",
                                                 name_action(schedule, sender, channel.sends[i]),
                                                 name_action(schedule, receiver, channel.receives[i])));
    return;
  }
  if (channel.sends.size() > both) {
    report.add(Violation::kMessages,
               fmt::format("{}: rank {} has no receive for it",
                           name_action(schedule, sender, channel.sends[both]), receiver));
  } else if (channel.receives.size() > both) {
    report.add(Violation::kMessages,
               fmt::format("{}: rank {} has no send for it",
                           name_action(schedule, receiver, channel.receives[both]), sender));
  }
}

// Where every rank stands when no two of them can meet any more.
std::vector<size_t> run_rendezvous(const Schedule& schedule) {
  std::vector<size_t> next(schedule.ranks.size(), 0);
  const auto skip_compute = [&](size_t rank) {
    const ActionList& list = schedule.ranks[rank];
    while (next[rank] < list.size() && is_compute(list[next[rank]].op)) ++next[rank];
    return next[rank] < list.size();
  };
  std::vector<size_t> ready;
  for (size_t rank = 0; rank < next.size(); ++rank) ready.push_back(rank);
  while (!ready.empty()) {
    const size_t rank = ready.back();
    ready.pop_back();
    while (skip_compute(rank)) {
      const Action& own = schedule.ranks[rank][next[rank]];
      const auto peer = static_cast<size_t>(own.peer);
      if (!skip_compute(peer)) break;
      const Action& other = schedule.ranks[peer][next[peer]];
      if (other.peer != static_cast<int>(rank) || is_send(other.op) == is_send(own.op)) break;
      ++next[rank];
      ++next[peer];
      ready.push_back(peer);
    }
  }
  return next;
}

std::string describe_wait(const Schedule& schedule, int rank, const std::vector<size_t>& next) {
  const size_t at = next[static_cast<size_t>(rank)];
  const Action& action = schedule.ranks[static_cast<size_t>(rank)][at];
  return fmt::format("waits at action {} ({}) for rank {}", at, to_string(action), action.peer);
}

}  // namespace

void verify_messages(const Schedule& schedule, VerifyReport& report) {
  const std::vector<Holder> by_stage = holders(schedule.placement);
  std::map<std::pair<int, int>, Channel> channels;  // by sender and receiver
  for (int rank = 0; rank < schedule.pp; ++rank) {
    const ActionList& list = schedule.ranks[static_cast<size_t>(rank)];
    for (int at = 0; at < static_cast<int>(list.size()); ++at) {
      const Action& action = list[static_cast<size_t>(at)];
      if (is_compute(action.op)) continue;
      check_peer(schedule, by_stage, rank, at, report);
      if (is_send(action.op)) {
        channels[{rank, action.peer}].sends.push_back(at);
      } else {
        channels[{action.peer, rank}].receives.push_back(at);
      }
    }
  }
  for (const auto& [ends, channel] : channels) {
    check_channel(schedule, ends.first, ends.second, channel, report);
  }
}

void verify_deadlock(const Schedule& schedule, VerifyReport& report) {
  const std::vector<size_t> next = run_rendezvous(schedule);
  const auto ended = [&](int rank) {
    return next[static_cast<size_t>(rank)] == schedule.ranks[static_cast<size_t>(rank)].size();
  };
  const auto waits_for = [&](int rank) {
    return schedule.ranks[static_cast<size_t>(rank)][next[static_cast<size_t>(rank)]].peer;
  };
  std::vector<int> visited_by(schedule.ranks.size(), -1);  // the walk that came here first
  for (int start = 0; start < schedule.pp; ++start) {
    int rank = start;
    while (!ended(rank) && visited_by[static_cast<size_t>(rank)] < 0) {
      visited_by[static_cast<size_t>(rank)] = start;
      if (ended(waits_for(rank))) {
        report.add(Violation::kDeadlock, fmt::format("rank {} {}, whose list has ended", rank,
                                                     describe_wait(schedule, rank, next)));
      }
      rank = waits_for(rank);
    }
    if (ended(rank) || visited_by[static_cast<size_t>(rank)] != start) continue;
    // A cycle, met for the first time; a walk of one rank has not moved.
    std::string cycle = fmt::format("rank {} {}", rank, describe_wait(schedule, rank, next));
    for (int member = waits_for(rank); member != rank; member = waits_for(member)) {
      cycle += ", which " + describe_wait(schedule, member, next);
    }
    report.add(Violation::kDeadlock, cycle);
  }
}

}  // namespace phalanx
