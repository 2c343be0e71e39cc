// File: phalanx/comm/local_hub.h
//
// Purpose: collectives and messages between threads of one process, on raw memory. A world has the ranks 0 .. size - 1; a hub
//   is where the ranks of one group meet.
// Contract: as in group.h. start() never blocks; what it started goes on by itself while the caller computes, on the
//   world's progress threads, and a waiting caller helps. A small operation is run at once by the rank that comes last.
//   Messages are copied straight from the sender's buffer by whoever is free. A rank uses one hub from one thread at
//   a time. Bits do not depend on who runs what.
//   A Pending that is dropped without wait(), as when a stack unwinds, first makes sure that nobody touches its buffers
//   any more.
// Units: elements; seconds. Ranks are ranks of the group, except where they are called world ranks.
// Errors: Error(kPeer), naming group, operation, sequence number and world ranks: when a rank is later than the deadline or
//   has ended; when two ranks contradict each other, on both. PeerFailed: something else failed first, which it quotes.
//   One failure ends every hub of the world at once; operations whose ranks had all come still end well.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "phalanx/base/error.h"
#include "phalanx/comm/flight_recorder.h"
#include "phalanx/comm/hub_errors.h"
#include "phalanx/comm/operation.h"
#include "phalanx/comm/progress.h"

namespace phalanx::comm {

struct HubOptions {
  double deadline = 600;      // seconds that a rank waits for the others
  int progress_threads = -1;  // -1: as many as ranks, at most as cores
  std::string flight_folder;  // where every rank's flight recorder writes rank_N.flight; empty: nowhere
};

// The consequence of a failure elsewhere.
class PeerFailed : public Error {
 public:
  explicit PeerFailed(ErrorParts parts) : Error(ErrorKind::kPeer, std::move(parts)) {}
};

// What one rank asks for.
struct Call {
  Description what;
  int64_t count = 0;  // elements of the tensor that `what` describes
  Part part{};
};

class LocalHub;
class HubWorld;

// One rank's side of a started operation.
class Pending {
 public:
  Pending() = default;
  Pending(LocalHub& hub, int rank, std::shared_ptr<Operation> operation)
      : hub_(&hub), rank_(rank), operation_(std::move(operation)) {}
  ~Pending() { drop(); }
  Pending(Pending&& other) noexcept = default;
  Pending& operator=(Pending&& other) noexcept;
  void wait();
  bool done();  // whether wait() would not block

 private:
  void drop();
  LocalHub* hub_ = nullptr;
  int rank_ = 0;
  std::shared_ptr<Operation> operation_;
};

class LocalHub {
 public:
  LocalHub(HubWorld& world, std::string name, std::vector<int> world_ranks);
  int size() const { return static_cast<int>(ranks_.size()); }
  const std::string& name() const { return name_; }
  const std::vector<int>& world_ranks() const { return ranks_; }

  Pending start(int rank, Call call);

 private:
  friend class Pending;
  friend class HubWorld;
  // Messages from one rank to another, in order; at most one of the two sides has any that wait.
  struct Lane {
    std::deque<std::shared_ptr<Operation>> waiting;
    int64_t sent = 0, received = 0;
  };
  using Lock = std::unique_lock<std::mutex>;

  bool has_no_threads() const;
  Lane& lane(int from, int to) {
    return lanes_[static_cast<size_t>(from) * ranks_.size() + static_cast<size_t>(to)];
  }
  std::shared_ptr<Operation> join(int rank, const Call& call, size_t* part);
  std::shared_ptr<Operation> join_collective(int rank, const Call& call);
  std::shared_ptr<Operation> join_message(int rank, const Call& call, size_t* part);
  std::shared_ptr<Operation> make(int rank, const Call& call, int64_t sequence, size_t parts) const;
  // What is wrong with the call, if anything is.
  std::optional<ErrorParts> admit(int rank, size_t part, Call& call, Operation& operation);
  void retire(const Operation& operation);  // all have come
  void record(int rank, const Call& call, Operation& operation);
  void wait(int rank, Operation& operation);
  void drop(int rank, Operation& operation);
  void expire(int rank, Operation& operation);
  void fail(const std::string& cause);  // something failed elsewhere
  void enter();
  void leave(int rank);  // it will not come again
  void mark_ended(int rank);
  bool has_ended(int rank) const { return ended_[static_cast<size_t>(rank)] != 0; }
  bool never_comes(const Operation& operation) const;
  // Ends the hub with `operation` as its first failure; the world must be told after unlocking.
  void condemn(Operation& operation, ErrorParts parts);
  void fail_all(const std::string& cause);
  PeerFailed consequence(int rank, const Description& what, int64_t sequence) const;
  std::vector<int> absent(const Operation& operation) const;  // ranks that have not come
  // The last words of those; the other one also says whom they wait for themselves.
  std::string ended_words(const Operation& operation) const;
  std::string missing_words(const Operation& operation) const;
  GroupName group_name() const { return {name_, ranks_}; }

  HubWorld& world_;
  std::string name_;
  std::vector<int> ranks_;
  std::mutex mutex_;
  std::vector<int64_t> next_;  // sequence number of each rank's next collective
  bool any_ended_ = false;
  std::vector<char> ended_;                             // by rank
  std::deque<std::shared_ptr<Operation>> collectives_;  // the ones that gather, in order
  int64_t first_collective_ = 0;                        // sequence number of the front
  std::vector<Lane> lanes_;                             // [from size + to]
  std::string failure_;
};

class HubWorld {
 public:
  explicit HubWorld(int size, HubOptions options = {});
  ~HubWorld();
  int size() const { return size_; }
  const HubOptions& options() const { return options_; }
  // The hub of that name and those world ranks, made by whoever asks first; it lives as long as the world.
  LocalHub& hub(const std::string& name, const std::vector<int>& world_ranks);
  // A world rank has failed for this reason: every hub ends at once.
  void poison(const std::string& cause) { poison(cause, std::nullopt); }
  // The first failure, if ranks that did not meet were it. Whoever noticed it may have been told of a consequence only.
  std::optional<ErrorParts> failed_meeting();
  // All ranks begin, for the first time or once more.
  void enter();
  // A world rank calls nothing any more: whoever waits for it hears so at once.
  void leave(int world_rank);

 private:
  friend class LocalHub;
  // What a rank did last, for the errors of those who wait for it.
  struct alignas(64) Trace {
    std::mutex mutex;
    const LocalHub* hub = nullptr;
    Description what{};
    int64_t sequence = 0;
    double since = 0;
    bool waits = false;
    bool ended = false;
    std::string words(int world_rank);  // "rank 2 (it waits in barrier #3 of group 'pp', for 0.2 s)"
    std::vector<int> awaited();         // the world ranks that may be what it waits for
  };
  void poison(const std::string& cause, const std::optional<ErrorParts>& meeting);
  void trace(int world_rank, const LocalHub& hub, const Description& what, int64_t sequence, bool waits);
  std::string last_words(const std::vector<int>& world_ranks);
  // Whom these ranks wait for, and those in turn, in other operations.
  std::vector<int> awaited_by(const std::vector<int>& world_ranks);
  std::vector<LocalHub*> hubs();

  int size_;
  HubOptions options_;
  std::vector<Trace> traces_;
  std::vector<std::unique_ptr<FlightRecorder>> recorders_;
  std::mutex mutex_;
  std::map<std::pair<std::string, std::vector<int>>, std::unique_ptr<LocalHub>> hubs_;
  std::string failure_;
  std::optional<ErrorParts> failed_meeting_;
  ProgressPool pool_;  // last: its threads end first
};

}  // namespace phalanx::comm
