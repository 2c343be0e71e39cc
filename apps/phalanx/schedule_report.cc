#include "apps/phalanx/schedule_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "phalanx/base/json.h"
#include "phalanx/pipeline/verify.h"
#include "phalanx/telemetry/human.h"

namespace phalanx::apps {
namespace {

// The fullest rank's share of what the fullest rank of 1F1B holds.
double stash_to_1f1b(const Schedule& schedule) {
  const int peak = *std::max_element(schedule.peak_stash.begin(), schedule.peak_stash.end());
  return static_cast<double>(peak) / schedule.chunks / std::min(schedule.pp, schedule.micro_batches);
}

// All of them, or the first three and the last.
std::string stages_text(const std::vector<int>& stages) {
  if (stages.size() <= 8) return fmt::format("{}", fmt::join(stages, ","));
  return fmt::format("{},{},{},..,{}", stages[0], stages[1], stages[2], stages.back());
}

// Columns as wide as their widest cell, to the right but for the first.
std::string table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths(rows.front().size());
  for (const std::vector<std::string>& row : rows) {
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  }
  std::string text;
  for (const std::vector<std::string>& row : rows) {
    for (size_t c = 0; c < row.size(); ++c) {
      text += c == 0 ? fmt::format("{:<{}}", row[c], widths[c]) : fmt::format("  {:>{}}", row[c], widths[c]);
    }
    text += '\n';
  }
  return text;
}

SimulateOptions scaled(const SimulateOptions& options, int64_t compute, int64_t link) {
  SimulateOptions out = options;
  for (StageCost& cost : out.stages) {
    cost.forward *= compute;
    cost.backward_input *= compute;
    cost.backward_weight *= compute;
  }
  for (int64_t& ticks : out.forward_link) ticks *= link;
  for (int64_t& ticks : out.backward_link) ticks *= link;
  return out;
}

ComparedKind compare_one(const ScheduleRequest& request, const SimulateOptions& options) {
  const Schedule schedule = make_schedule(request);
  verify(schedule, "schedule " + request.kind);
  const Timeline timeline = simulate(schedule, options);
  ComparedKind row{.kind = request.kind,
                   .chunks = request.chunks,
                   .makespan = timeline.makespan,
                   .bubble = timeline.bubble()};
  if (!request.forward_only) {
    row.peak_stash = *std::max_element(schedule.peak_stash.begin(), schedule.peak_stash.end());
    row.stash_to_1f1b = stash_to_1f1b(schedule);
  }
  for (const ActionList& actions : schedule.ranks)
    row.messages = std::max(row.messages, count_messages(actions).sent);
  return row;
}

}  // namespace

MessageCounts count_messages(const ActionList& actions) {
  MessageCounts counts;
  for (const Action& action : actions) {
    if (is_compute(action.op)) continue;
    ++(is_send(action.op) ? counts.sent : counts.received);
  }
  return counts;
}

std::string schedule_summary(const Schedule& schedule, const Timeline& timeline) {
  std::vector<std::vector<std::string>> rows = {
      {"rank", "stages", "busy", "idle", "peak stash", "sent", "received"}};
  for (size_t rank = 0; rank < schedule.ranks.size(); ++rank) {
    const MessageCounts counts = count_messages(schedule.ranks[rank]);
    rows.push_back({fmt::format("{}", rank), stages_text(schedule.placement[rank]),
                    fmt::format("{}", timeline.busy[rank]),
                    fmt::format("{}", timeline.idle(static_cast<int>(rank))),
                    schedule.forward_only ? "-" : fmt::format("{}", schedule.peak_stash[rank]),
                    fmt::format("{}", counts.sent), fmt::format("{}", counts.received)});
  }
  const int64_t busy = timeline.max_busy();
  std::string text =
      fmt::format("makespan    {} ticks\nbubble      {}: {} idle / {} busy ticks of the busiest rank\n",
                  timeline.makespan, human_percent(timeline.bubble()), timeline.makespan - busy, busy);
  if (!schedule.forward_only) {
    const auto peak = std::max_element(schedule.peak_stash.begin(), schedule.peak_stash.end());
    text += fmt::format("peak stash  {} chunk-micro-batches on rank {}, {:.2f} x that of 1f1b\n", *peak,
                        peak - schedule.peak_stash.begin(), stash_to_1f1b(schedule));
  }
  return text + "\n" + table(rows);
}

std::vector<ComparedKind> compare_kinds(const ScheduleRequest& request, const SimulateOptions& options) {
  std::vector<ScheduleRequest> requests;
  int64_t finest = 1;
  for (const ScheduleKind& kind : schedule_kinds()) {
    std::set<int> chunks = {kind.min_chunks};
    if (kind.max_chunks == 0 || request.chunks <= kind.max_chunks) {
      chunks.insert(std::max(request.chunks, kind.min_chunks));
    }
    for (const int count : chunks) {
      requests.push_back(request);
      requests.back().kind = kind.name;
      requests.back().chunks = count;
      finest = std::lcm(finest, int64_t{count});
    }
  }
  std::vector<ComparedKind> rows;
  for (const ScheduleRequest& one : requests) {
    rows.push_back(compare_one(one, scaled(options, finest / one.chunks, finest)));
  }
  return rows;
}

std::string compared_text(const ScheduleRequest& request, const std::vector<ComparedKind>& rows) {
  std::vector<std::vector<std::string>> cells = {
      {"kind", "chunks", "ticks", "bubble", "peak stash", "x 1f1b", "messages"}};
  for (const ComparedKind& row : rows) {
    const bool stashes = !request.forward_only;
    cells.push_back({row.kind, fmt::format("{}", row.chunks), fmt::format("{}", row.makespan),
                     human_percent(row.bubble), stashes ? fmt::format("{}", row.peak_stash) : "-",
                     stashes ? fmt::format("{:.2f}", row.stash_to_1f1b) : "-",
                     fmt::format("{}", row.messages)});
  }
  return fmt::format("{} ranks, {} micro-batches{}\n\n{}", request.pp, request.micro_batches,
                     request.forward_only ? ", forward only" : "", table(cells)) +
         "\nticks: alike for all, a chunk takes its share; peak stash: (micro-batch, chunk) pairs of the fullest rank;\n"
         "x 1f1b: that in layers, 1 is what 1f1b holds; messages: sent by the busiest rank\n";
}

std::string compared_json(const std::vector<ComparedKind>& rows) {
  Json list = Json::array();
  for (const ComparedKind& row : rows) {
    list.push_back({{"kind", row.kind},
                    {"chunks", row.chunks},
                    {"makespan", row.makespan},
                    {"bubble", row.bubble},
                    {"peak_stash", row.peak_stash},
                    {"stash_to_1f1b", row.stash_to_1f1b},
                    {"messages", row.messages}});
  }
  return list.dump(1);
}

}  // namespace phalanx::apps
