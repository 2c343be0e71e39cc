#include "phalanx/pipeline/generate.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "phalanx/base/error.h"
#include "phalanx/pipeline/build_schedule.h"
#include "phalanx/pipeline/schedule_json.h"
#include "phalanx/pipeline/verify.h"

namespace phalanx {
namespace {

constexpr int kAny = 0;

constexpr std::array<ScheduleKind, 6> kKinds = {{
    {"gpipe", "all forwards, then all backwards; chunks: looped, breadth first", 1, kAny, false,
     generate_gpipe},
    {"1f1b", "one forward, one backward: at most p micro-batches stashed", 1, 1, false, generate_1f1b},
    {"interleaved", "1f1b over chunks: 1/chunks of the bubble, chunks x the messages", 1, kAny, false,
     generate_interleaved},
    {"zb-h1", "1f1b with B and W apart: a third of the bubble, the same stash", 1, 1, true, generate_zb_h1},
    {"zb-v", "two chunks in a V, B and W apart: next to no bubble, the stash of 1f1b", 2, 2, true,
     generate_zb_v},
    {"v-half", "two chunks in a V, B and W apart: half the stash and half the bubble", 2, 2, true,
     generate_v_half},
}};

std::string chunks_text(int chunks) {
  return fmt::format("{} chunk{} a rank", chunks, chunks == 1 ? "" : "s");
}

std::string chunk_rule(const ScheduleKind& kind) {
  if (kind.max_chunks == kAny) return "at least " + chunks_text(kind.min_chunks);
  if (kind.min_chunks == kind.max_chunks) return "exactly " + chunks_text(kind.min_chunks);
  return fmt::format("{} to {}", kind.min_chunks, chunks_text(kind.max_chunks));
}

void require_counts(const ScheduleRequest& request) {
  const std::string where = "schedule " + request.kind;
  const auto at_least_one = [&](const char* name, int value) {
    if (value >= 1) return;
    throw Error(ErrorKind::kBadInput, {.where = where,
                                       .got = fmt::format("{} {}", value, name),
                                       .needed = "at least 1",
                                       .fix = "change the value"});
  };
  at_least_one("pipeline ranks", request.pp);
  at_least_one("chunks a rank", request.chunks);
  at_least_one("micro-batches", request.micro_batches);
  if (fits_schedule_units(request.pp, request.chunks, request.micro_batches)) return;
  throw Error(ErrorKind::kBadInput, {.where = where,
                                     .got = fmt::format("{} ranks x {} chunks x {} micro-batches", request.pp,
                                                        request.chunks, request.micro_batches),
                                     .needed = fmt::format("a product of at most {}", kMaxScheduleUnits),
                                     .fix = "lower one of the three"});
}

const ScheduleKind& kind_of(const std::string& name) {
  const auto found =
      std::find_if(kKinds.begin(), kKinds.end(), [&](const ScheduleKind& kind) { return kind.name == name; });
  if (found != kKinds.end()) return *found;
  std::vector<std::string_view> names;
  for (const ScheduleKind& kind : kKinds) names.push_back(kind.name);
  const std::string near = nearest_name(name, names);
  throw Error(ErrorKind::kBadInput,
              {.where = "schedule",
               .got = fmt::format("the kind '{}'", name),
               .needed = fmt::format("one of {}, or a file that ends in .json", fmt::join(names, ", ")),
               .fix = near.empty() ? "choose one of these" : "did you mean " + near + "?"});
}

// What a file says must be what the run has.
Schedule schedule_from_file(const ScheduleRequest& request) {
  Schedule schedule = read_schedule_file(request.kind);
  const auto agree = [&](const char* name, int in_request, int in_file) {
    if (in_request == in_file) return;
    throw Error(ErrorKind::kBadInput, {.where = request.kind,
                                       .got = fmt::format("a schedule of {} {}", in_file, name),
                                       .needed = fmt::format("{}, as the run has", in_request),
                                       .fix = "change the run or the file"});
  };
  agree("pipeline ranks", request.pp, schedule.pp);
  agree("chunks a rank", request.chunks, schedule.chunks);
  agree("micro-batches", request.micro_batches, schedule.micro_batches);
  if (schedule.forward_only && !request.forward_only) {
    throw Error(ErrorKind::kBadInput, {.where = request.kind,
                                       .got = "a forward-only schedule",
                                       .needed = "one with backward passes",
                                       .fix = "name another file or a kind"});
  }
  return schedule;
}

}  // namespace

std::span<const ScheduleKind> schedule_kinds() {
  return kKinds;
}

Schedule make_schedule(const ScheduleRequest& request) {
  Schedule schedule;
  if (request.kind.ends_with(".json")) {
    schedule = schedule_from_file(request);
  } else {
    const ScheduleKind& kind = kind_of(request.kind);
    require_counts(request);
    if (request.chunks < kind.min_chunks || (kind.max_chunks != kAny && request.chunks > kind.max_chunks)) {
      throw Error(ErrorKind::kBadInput, {.where = fmt::format("schedule {}", kind.name),
                                         .got = chunks_text(request.chunks),
                                         .needed = chunk_rule(kind),
                                         .fix = "change the number of chunks or the kind"});
    }
    schedule = kind.generate(request.pp, request.chunks, request.micro_batches);
  }
  if (request.forward_only) return forward_only(schedule);
  return schedule;
}

}  // namespace phalanx
