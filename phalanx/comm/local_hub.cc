#include "phalanx/comm/local_hub.h"

#include <algorithm>
#include <limits>

#include "phalanx/base/clock.h"
#include "phalanx/comm/hub_errors.h"

namespace phalanx::comm {
namespace {

// An operation that writes no more than this is run by the rank that comes last: waking a helper takes longer.
constexpr int64_t kSmallBytes = int64_t{256} << 10;

bool is_message(OpKind kind) {
  return kind == OpKind::kSend || kind == OpKind::kRecv;
}

}  // namespace

Pending& Pending::operator=(Pending&& other) noexcept {
  std::swap(hub_, other.hub_);
  std::swap(rank_, other.rank_);
  std::swap(operation_, other.operation_);
  return *this;
}

void Pending::wait() {
  if (!operation_) return;
  // Whatever comes of it: afterwards nobody touches this rank's buffers.
  const std::shared_ptr<Operation> operation = std::move(operation_);
  hub_->wait(rank_, *operation);
}

bool Pending::done() {
  if (!operation_) return true;
  const Stage stage = operation_->stage.get();
  // Without progress threads, asking must be what moves it on.
  if (stage == Stage::kReady && hub_->has_no_threads()) operation_->help();
  return stage == Stage::kFailed || operation_->stage.get() == Stage::kDone;
}

void Pending::drop() {
  if (operation_) hub_->drop(rank_, *operation_);
}

bool LocalHub::has_no_threads() const {
  return world_.pool_.empty();
}

LocalHub::LocalHub(HubWorld& world, std::string name, std::vector<int> world_ranks)
    : world_(world),
      name_(std::move(name)),
      ranks_(std::move(world_ranks)),
      next_(ranks_.size(), 0),
      ended_(ranks_.size(), 0),
      lanes_(ranks_.size() * ranks_.size()) {}

Pending LocalHub::start(int rank, Call call) {
  Lock lock(mutex_);
  auto part = static_cast<size_t>(rank);
  const std::shared_ptr<Operation> operation = join(rank, call, &part);
  if (!failure_.empty()) throw consequence(rank, call.what, operation->sequence);
  if (const std::optional<ErrorParts> problem = admit(rank, part, call, *operation)) {
    condemn(*operation, *problem);
    lock.unlock();
    world_.poison(failure_, problem);
    throw Error(ErrorKind::kPeer, *problem);
  }
  const bool complete = operation->missing == 0;
  if (complete) retire(*operation);
  lock.unlock();
  if (complete) {
    operation->make_ready();
    if (operation->written_bytes() <= kSmallBytes) {
      operation->help();
    } else if (!world_.pool_.empty()) {
      world_.pool_.add(operation);
    }
  }
  return Pending(*this, rank, operation);
}

std::optional<ErrorParts> LocalHub::admit(int rank, size_t part, Call& call, Operation& operation) {
  const bool first = operation.missing == static_cast<int>(operation.parts.size());
  if (!first && !agree(operation.what, call.what))
    return contradiction(group_name(), operation, rank, call.what);
  operation.here[part] = 1;
  operation.parts[part] = std::move(call.part);
  --operation.missing;
  record(rank, call, operation);
  if (operation.missing == 0) return uneven_rows(group_name(), operation);
  if (never_comes(operation)) return ended(group_name(), operation, ended_words(operation));
  return std::nullopt;
}

std::shared_ptr<Operation> LocalHub::join(int rank, const Call& call, size_t* part) {
  return is_message(call.what.kind) ? join_message(rank, call, part) : join_collective(rank, call);
}

std::shared_ptr<Operation> LocalHub::join_collective(int rank, const Call& call) {
  const int64_t sequence = next_[static_cast<size_t>(rank)]++;
  const auto place = static_cast<size_t>(sequence - first_collective_);
  if (place == collectives_.size()) collectives_.push_back(make(rank, call, sequence, ranks_.size()));
  return collectives_[place];
}

std::shared_ptr<Operation> LocalHub::join_message(int rank, const Call& call, size_t* part) {
  const bool sends = call.what.kind == OpKind::kSend;
  const int from = sends ? rank : call.what.peer, to = sends ? call.what.peer : rank;
  Lane& messages = lane(from, to);
  const int64_t sequence = sends ? messages.sent++ : messages.received++;
  *part = sends ? 0 : 1;
  if (messages.waiting.empty() || messages.waiting.front()->here[*part]) {
    messages.waiting.push_back(make(rank, call, sequence, 2));
    return messages.waiting.back();
  }
  return messages.waiting.front();
}

std::shared_ptr<Operation> LocalHub::make(int rank, const Call& call, int64_t sequence, size_t parts) const {
  auto operation = std::make_shared<Operation>();
  operation->what = call.what;
  operation->first = rank;
  operation->sequence = sequence;
  operation->count = call.count;
  operation->parts.resize(parts);
  operation->here.resize(parts);
  operation->missing = static_cast<int>(parts);
  return operation;
}

void LocalHub::retire(const Operation& operation) {
  if (!is_message(operation.what.kind)) {
    // Every rank comes in order, so what is complete is the oldest.
    collectives_.pop_front();
    ++first_collective_;
    return;
  }
  const bool sends = operation.what.kind == OpKind::kSend;
  const int from = sends ? operation.first : operation.what.peer;
  const int to = sends ? operation.what.peer : operation.first;
  lane(from, to).waiting.pop_front();
}

void LocalHub::record(int rank, const Call& call, Operation& operation) {
  const int world_rank = ranks_[static_cast<size_t>(rank)];
  world_.trace(world_rank, *this, call.what, operation.sequence, false);
  if (world_.recorders_.empty()) return;
  FlightRecorder& recorder = *world_.recorders_[static_cast<size_t>(world_rank)];
  const int peer = call.what.peer < 0 ? -1 : ranks_[static_cast<size_t>(call.what.peer)];
  const int64_t bytes = call.count * dtype_bytes(call.what.dtype);
  operation.records.push_back(
      {&recorder, recorder.issue(name_, call.what.kind, peer, operation.sequence, bytes)});
}

void LocalHub::wait(int rank, Operation& operation) {
  if (operation.stage.get() == Stage::kDone) return;
  const int world_rank = ranks_[static_cast<size_t>(rank)];
  const double deadline = monotonic_seconds() + world_.options_.deadline;
  const Description what = seen_by(operation, rank);
  world_.trace(world_rank, *this, what, operation.sequence, true);
  while (true) {
    const Stage stage = operation.stage.get();
    if (stage == Stage::kDone) break;
    if (stage == Stage::kFailed) {
      if (operation.is_cause) throw Error(ErrorKind::kPeer, operation.failure);
      const Lock lock(mutex_);
      throw consequence(rank, what, operation.sequence);
    }
    if (stage == Stage::kReady && operation.help()) continue;
    // What is ready ends without the other ranks, so it has no deadline.
    const double until = stage == Stage::kReady ? std::numeric_limits<double>::max() : deadline;
    if (!operation.stage.wait_past(stage, until)) expire(rank, operation);
  }
  world_.trace(world_rank, *this, what, operation.sequence, false);
}

void LocalHub::expire(int rank, Operation& operation) {
  Lock lock(mutex_);
  // It may have become complete, or have failed, since the caller looked.
  if (operation.missing == 0 || operation.stage.get() != Stage::kGathering) return;
  condemn(operation, late(group_name(), operation, rank, world_.options_.deadline, missing_words(operation)));
  lock.unlock();
  world_.poison(failure_, operation.failure);
}

void LocalHub::drop(int rank, Operation& operation) {
  {
    const Lock lock(mutex_);
    if (operation.missing > 0) {
      fail_all(dropped(group_name(), operation, rank));
      return;
    }
  }
  while (operation.stage.get() != Stage::kDone && operation.stage.get() != Stage::kFailed) {
    const Stage stage = operation.stage.get();
    if (stage == Stage::kReady && operation.help()) continue;
    operation.stage.wait_past(stage, std::numeric_limits<double>::max());
  }
}

void LocalHub::fail(const std::string& cause) {
  const Lock lock(mutex_);
  fail_all(cause);
}

void LocalHub::enter() {
  const Lock lock(mutex_);
  std::ranges::fill(ended_, 0);
  any_ended_ = false;
}

void LocalHub::leave(int rank) {
  std::shared_ptr<Operation> hopeless;
  {
    const Lock lock(mutex_);
    mark_ended(rank);
    if (!failure_.empty()) return;
    std::vector<std::shared_ptr<Operation>> gathering(collectives_.begin(), collectives_.end());
    for (const Lane& lane : lanes_)
      gathering.insert(gathering.end(), lane.waiting.begin(), lane.waiting.end());
    const auto found = std::ranges::find_if(gathering, [this](const auto& o) { return never_comes(*o); });
    if (found == gathering.end()) return;
    hopeless = *found;
    condemn(*hopeless, ended(group_name(), *hopeless, ended_words(*hopeless)));
  }
  world_.poison(failure_, hopeless->failure);
}

void LocalHub::mark_ended(int rank) {
  ended_[static_cast<size_t>(rank)] = 1;
  any_ended_ = true;
}

bool LocalHub::never_comes(const Operation& operation) const {
  if (!any_ended_) return false;
  return std::ranges::any_of(absent(operation),
                             [this](int r) { return ended_[static_cast<size_t>(r)] != 0; });
}

void LocalHub::condemn(Operation& operation, ErrorParts parts) {
  operation.failure = std::move(parts);
  operation.is_cause = true;
  fail_all(Error(ErrorKind::kPeer, operation.failure).what());
  operation.stage.set(Stage::kFailed);
}

void LocalHub::fail_all(const std::string& cause) {
  if (!failure_.empty()) return;
  failure_ = cause;
  for (const auto& operation : collectives_) operation->stage.set(Stage::kFailed);
  for (const Lane& lane : lanes_)
    for (const auto& operation : lane.waiting) operation->stage.set(Stage::kFailed);
}

PeerFailed LocalHub::consequence(int rank, const Description& what, int64_t sequence) const {
  return PeerFailed(quote(group_name(), rank, what, sequence, failure_));
}

std::vector<int> LocalHub::absent(const Operation& operation) const {
  if (operation.missing == 0) return {};
  if (is_message(operation.what.kind)) return {operation.what.peer};
  std::vector<int> ranks;
  for (int r = 0; r < size(); ++r)
    if (!operation.here[static_cast<size_t>(r)]) ranks.push_back(r);
  return ranks;
}

std::string LocalHub::ended_words(const Operation& operation) const {
  std::vector<int> ranks;
  for (const int rank : absent(operation))
    if (has_ended(rank)) ranks.push_back(ranks_[static_cast<size_t>(rank)]);
  return world_.last_words(ranks);
}

std::string LocalHub::missing_words(const Operation& operation) const {
  std::vector<int> ranks;
  for (const int rank : absent(operation)) ranks.push_back(ranks_[static_cast<size_t>(rank)]);
  const std::vector<int> behind = world_.awaited_by(ranks);
  return world_.last_words(ranks) + (behind.empty() ? "" : ", which waits for " + world_.last_words(behind));
}

}  // namespace phalanx::comm
