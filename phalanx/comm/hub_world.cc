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

std::string HubWorld::Trace::words(int world_rank) {
  const std::lock_guard lock(mutex);
  const std::string end = ended ? "has ended and " : "";
  if (hub == nullptr) return fmt::format("rank {} (it {}has called nothing)", world_rank, end);
  const double ago = monotonic_seconds() - since;
  const std::string call =
      fmt::format("{} #{} of group '{}'", describe(what, hub->world_ranks()), sequence, hub->name());
  if (waits) return fmt::format("rank {} (it waits in {}, for {:.3g} s)", world_rank, call, ago);
  return fmt::format("rank {} (it {}was last in {}, {:.3g} s ago)", world_rank, end, call, ago);
}

std::vector<int> HubWorld::Trace::awaited() {
  const std::lock_guard lock(mutex);
  if (!waits) return {};
  if (what.peer >= 0 && what.kind != OpKind::kBroadcast)
    return {hub->world_ranks()[static_cast<size_t>(what.peer)]};
  return hub->world_ranks();
}

std::string HubWorld::last_words(const std::vector<int>& world_ranks) {
  std::string words;
  for (const int rank : world_ranks)
    words += (words.empty() ? "" : ", ") + traces_[static_cast<size_t>(rank)].words(rank);
  return words;
}

std::vector<int> HubWorld::awaited_by(const std::vector<int>& world_ranks) {
  std::vector<int> all = world_ranks;
  for (size_t i = 0; i < all.size(); ++i) {
    for (const int rank : traces_[static_cast<size_t>(all[i])].awaited())
      if (std::ranges::find(all, rank) == all.end()) all.push_back(rank);
  }
  return {all.begin() + static_cast<int64_t>(world_ranks.size()), all.end()};
}

}  // namespace phalanx::comm
