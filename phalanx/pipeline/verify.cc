#include "phalanx/pipeline/verify.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/pipeline/build_schedule.h"
#include "phalanx/pipeline/verify_report.h"

namespace phalanx {
namespace {

// In the order of Violation.
constexpr std::array<const char*, 7> kKindNames = {"shape",    "placement", "once", "data",
                                                   "messages", "deadlock",  "stash"};

void verify_counts(const Schedule& schedule, VerifyReport& report) {
  const auto at_least_one = [&](const char* name, int value) {
    if (value < 1) report.add(Violation::kShape, fmt::format("{} is {}; at least 1", name, value));
    return value >= 1;
  };
  const bool positive = at_least_one("pp", schedule.pp) & at_least_one("chunks", schedule.chunks) &
                        at_least_one("micro_batches", schedule.micro_batches);
  if (positive && !fits_schedule_units(schedule.pp, schedule.chunks, schedule.micro_batches)) {
    report.add(Violation::kShape,
               fmt::format("pp {} x chunks {} x micro_batches {} is more than {}", schedule.pp,
                           schedule.chunks, schedule.micro_batches, kMaxScheduleUnits));
  }
  const auto one_a_rank = [&](const char* name, size_t size) {
    if (schedule.pp >= 1 && size != static_cast<size_t>(schedule.pp)) {
      report.add(Violation::kShape, fmt::format("{} has {} entries for pp {}", name, size, schedule.pp));
    }
  };
  one_a_rank("placement", schedule.placement.size());
  one_a_rank("ranks", schedule.ranks.size());
  one_a_rank("peak_stash", schedule.peak_stash.size());
  for (size_t rank = 0; rank < schedule.placement.size(); ++rank) {
    const size_t held = schedule.placement[rank].size();
    if (schedule.chunks >= 1 && held != static_cast<size_t>(schedule.chunks)) {
      report.add(Violation::kShape,
                 fmt::format("rank {}: placement of {} chunks; chunks is {}", rank, held, schedule.chunks));
    }
  }
}

void verify_indices(const Schedule& schedule, VerifyReport& report) {
  for (size_t r = 0; r < schedule.ranks.size(); ++r) {
    const int rank = static_cast<int>(r);
    for (size_t i = 0; i < schedule.ranks[r].size() && !report.full(Violation::kShape); ++i) {
      const Action& action = schedule.ranks[r][i];
      const auto outside = [&](const char* what, int value, int end) {
        report.add(Violation::kShape,
                   fmt::format("{}: {} {} is outside 0..{}", name_action(schedule, rank, static_cast<int>(i)),
                               what, value, end - 1));
      };
      const auto check = [&](const char* what, int value, int end) {
        if (value < 0 || value >= end) outside(what, value, end);
      };
      check("micro-batch", action.micro_batch, schedule.micro_batches);
      check("chunk", action.chunk, schedule.chunks);
      if (!is_compute(action.op)) check("peer", action.peer, schedule.pp);
      const bool wrong_peer = is_compute(action.op) ? action.peer != -1 : action.peer == rank;
      if (!wrong_peer) continue;
      report.add(Violation::kShape,
                 fmt::format("{}: {}", name_action(schedule, rank, static_cast<int>(i)),
                             is_compute(action.op) ? fmt::format("computes, but has peer {}", action.peer)
                                                   : "a message to itself"));
    }
  }
}

void verify_placement(const Schedule& schedule, VerifyReport& report) {
  const int num_stages = schedule.num_stages();
  std::vector<bool> held(static_cast<size_t>(num_stages), false);
  for (size_t rank = 0; rank < schedule.placement.size(); ++rank) {
    for (size_t chunk = 0; chunk < schedule.placement[rank].size(); ++chunk) {
      const int stage = schedule.placement[rank][chunk];
      if (stage < 0 || stage >= num_stages) {
        report.add(Violation::kPlacement, fmt::format("rank {}, chunk {}: stage {} is outside 0..{}", rank,
                                                      chunk, stage, num_stages - 1));
      } else if (held[static_cast<size_t>(stage)]) {
        report.add(Violation::kPlacement,
                   fmt::format("rank {}, chunk {}: stage {} is held twice", rank, chunk, stage));
      } else {
        held[static_cast<size_t>(stage)] = true;
      }
    }
  }
  for (int stage = 0; stage < num_stages && !report.full(Violation::kPlacement); ++stage) {
    if (!held[static_cast<size_t>(stage)]) {
      report.add(Violation::kPlacement, fmt::format("stage {} is held by no rank", stage));
    }
  }
}

void verify_stash(const Schedule& schedule, VerifyReport& report) {
  for (size_t rank = 0; rank < schedule.ranks.size(); ++rank) {
    const int claimed = schedule.peak_stash[rank];
    const int counted = schedule.forward_only ? 0 : count_peak_stash(schedule.ranks[rank]);
    if (claimed != counted) {
      report.add(Violation::kStash,
                 fmt::format("rank {}: peak_stash is {}, its list holds {}", rank, claimed, counted));
    }
  }
}

void throw_if_any(const VerifyReport& report, const std::string& where) {
  if (report.empty()) return;
  throw Error(
      ErrorKind::kBadInput,
      {.where = where,
       .got = "an illegal schedule" + report.text(),
       .needed = "a legal one (ranks, actions and micro-batches count from 0)",
       .fix = "correct these actions; `phalanx schedule --kind 1f1b --json` prints a legal schedule"});
}

}  // namespace

void VerifyReport::add(Violation kind, std::string text) {
  if (!full(kind)) lines_.push_back({.kind = kind, .text = std::move(text)});
}

bool VerifyReport::full(Violation kind) const {
  return std::count_if(lines_.begin(), lines_.end(), [&](const Line& line) { return line.kind == kind; }) >=
         kMaxViolations;
}

std::string VerifyReport::text() const {
  std::vector<Line> sorted = lines_;
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const Line& a, const Line& b) { return a.kind < b.kind; });
  std::string text;
  for (const Line& line : sorted) {
    text += fmt::format("\n  {}: {}", kKindNames[static_cast<size_t>(line.kind)], line.text);
  }
  return text + "\n";
}

std::string name_action(const Schedule& schedule, int rank, int position) {
  const Action& action = schedule.ranks[static_cast<size_t>(rank)][static_cast<size_t>(position)];
  return fmt::format("rank {}, action {} ({})", rank, position, to_string(action));
}

bool fits_schedule_units(int pp, int chunks, int micro_batches) {
  const int64_t held = int64_t{pp} * chunks;  // cannot overflow, but three factors could
  return held <= kMaxScheduleUnits && held * micro_batches <= kMaxScheduleUnits;
}

void verify(const Schedule& schedule, const std::string& where) {
  VerifyReport report;
  verify_counts(schedule, report);
  throw_if_any(report, where);  // nothing below may index by numbers that are wrong
  verify_indices(schedule, report);
  verify_placement(schedule, report);
  throw_if_any(report, where);
  verify_actions(schedule, report);
  verify_messages(schedule, report);
  verify_deadlock(schedule, report);
  verify_stash(schedule, report);
  throw_if_any(report, where);
}

}  // namespace phalanx
