#include <fmt/format.h>

#include <algorithm>

#include "phalanx/base/clock.h"
#include "phalanx/base/fs.h"
#include "phalanx/base/threads.h"
#include "phalanx/comm/local_hub.h"

namespace phalanx::comm {
namespace {

int progress_threads(const HubOptions& options, int ranks, int cores) {
  return options.progress_threads >= 0 ? options.progress_threads : std::min(ranks, cores);
}

}  // namespace

HubWorld::HubWorld(int size, HubOptions options)
    : size_(size),
      options_(std::move(options)),
      traces_(static_cast<size_t>(size)),
      pool_(size > 1 ? progress_threads(options_, size, thread_count(0)) : 0) {
  if (options_.flight_folder.empty()) return;
  make_directories(options_.flight_folder);
  for (int rank = 0; rank < size; ++rank) {
    recorders_.push_back(std::make_unique<FlightRecorder>(
        fmt::format("{}/rank_{}.flight", options_.flight_folder, rank), rank));
  }
}

HubWorld::~HubWorld() = default;

LocalHub& HubWorld::hub(const std::string& name, const std::vector<int>& world_ranks) {
  const std::lock_guard lock(mutex_);
  std::unique_ptr<LocalHub>& hub = hubs_[{name, world_ranks}];
  if (!hub) {
    hub = std::make_unique<LocalHub>(*this, name, world_ranks);
    hub->failure_ = failure_;
    for (size_t r = 0; r < world_ranks.size(); ++r) {
      Trace& trace = traces_[static_cast<size_t>(world_ranks[r])];
      const std::lock_guard reading(trace.mutex);
      if (trace.ended) hub->mark_ended(static_cast<int>(r));
    }
  }
  return *hub;
}

std::optional<ErrorParts> HubWorld::failed_meeting() {
  const std::lock_guard lock(mutex_);
  return failed_meeting_;
}

void HubWorld::poison(const std::string& cause, const std::optional<ErrorParts>& meeting) {
  std::string first;
  {
    const std::lock_guard lock(mutex_);
    if (failure_.empty()) failure_ = cause;
    if (!failed_meeting_) failed_meeting_ = meeting;
    first = failure_;
  }
  // A hub that is made from here on is born with the failure.
  for (LocalHub* hub : hubs()) hub->fail(first);
}

void HubWorld::enter() {
  for (Trace& trace : traces_) {
    const std::lock_guard lock(trace.mutex);
    trace.ended = false;
  }
  for (LocalHub* hub : hubs()) hub->enter();
}

void HubWorld::leave(int world_rank) {
  {
    const std::lock_guard lock(mutex_);
    Trace& trace = traces_[static_cast<size_t>(world_rank)];
    const std::lock_guard writing(trace.mutex);
    trace.ended = true;
  }
  for (LocalHub* hub : hubs()) {
    const auto& ranks = hub->world_ranks();
    const auto place = std::ranges::find(ranks, world_rank);
    if (place != ranks.end()) hub->leave(static_cast<int>(place - ranks.begin()));
  }
}

std::vector<LocalHub*> HubWorld::hubs() {
  const std::lock_guard lock(mutex_);
  std::vector<LocalHub*> all;
  for (const auto& [key, hub] : hubs_) all.push_back(hub.get());
  return all;
}

void HubWorld::trace(int world_rank, const LocalHub& hub, const Description& what, int64_t sequence,
                     bool waits) {
  Trace& trace = traces_[static_cast<size_t>(world_rank)];
  const std::lock_guard lock(trace.mutex);
  trace.hub = &hub;
  trace.what = what;
  trace.sequence = sequence;
  trace.since = monotonic_seconds();
  trace.waits = waits;
}

std::string HubWorld::last_words(int world_rank) {
  Trace& trace = traces_[static_cast<size_t>(world_rank)];
  const std::lock_guard lock(trace.mutex);
  const std::string ended = trace.ended ? "has ended and " : "";
  if (trace.hub == nullptr) return fmt::format("rank {} (it {}has called nothing)", world_rank, ended);
  const double ago = monotonic_seconds() - trace.since;
  const std::string what = fmt::format("{} #{} of group '{}'", describe(trace.what, trace.hub->world_ranks()),
                                       trace.sequence, trace.hub->name());
  if (trace.waits) return fmt::format("rank {} (it waits in {}, for {:.3g} s)", world_rank, what, ago);
  return fmt::format("rank {} (it {}was last in {}, {:.3g} s ago)", world_rank, ended, what, ago);
}

}  // namespace phalanx::comm
