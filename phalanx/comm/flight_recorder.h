// File: phalanx/comm/flight_recorder.h
//
// Purpose: what one rank asked of the others last, in a memory-mapped file that outlives the process: after an abort or a
//   kill it still says which operation was issued, which ones everybody had come to, and which ones were done.
// Contract: a ring of fixed size; the newest operations push out the oldest. Any thread may issue and mark. Space is
//   reserved when the file is made, so that a full disk cannot stop a run later. A file that is there already becomes
//   PATH.previous: a restart does not wipe out what the crash before it left.
// Units: bytes; seconds of the monotonic clock, as nanoseconds in the file.
// Errors: Error(kIo) when the file cannot be made; Error(kBadInput) for a file that is foreign, newer or damaged.
// Example: std::cout << flight_text(read_flight("run/flight/rank_3.flight"), 20);
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "phalanx/comm/operation.h"

namespace phalanx::comm {

// As it lies in the file. A time of zero has not come yet.
struct FlightRecord {
  uint64_t id = 0;  // counts from 1; 0 is a place never used
  int64_t sequence = 0;
  int64_t bytes = 0;
  int64_t issued_ns = 0, started_ns = 0, done_ns = 0;
  uint32_t kind = 0;
  int32_t peer = -1;    // world rank, -1 where there is none
  char group[40] = {};  // cut where longer

  const char* state() const { return done_ns != 0 ? "done" : started_ns != 0 ? "started" : "issued"; }
};
static_assert(sizeof(FlightRecord) == 96);

struct FlightHeader {
  char magic[8] = {'P', 'H', 'X', 'F', 'L', 'I', 'G', 'H'};
  uint32_t version = 1;
  uint32_t record_bytes = sizeof(FlightRecord);
  int64_t capacity = 0;
  int64_t rank = 0;
  int64_t process = 0;
  int64_t began_ns = 0;  // monotonic
  double began_wall = 0;
  int64_t reserved = 0;
};
static_assert(sizeof(FlightHeader) == 64);

class FlightRecorder {
 public:
  FlightRecorder(const std::string& path, int rank, int64_t capacity = 4096);
  ~FlightRecorder();
  FlightRecorder(const FlightRecorder&) = delete;
  FlightRecorder& operator=(const FlightRecorder&) = delete;

  // Returns the record's id.
  uint64_t issue(std::string_view group, OpKind kind, int peer, int64_t sequence, int64_t bytes);
  void started(uint64_t id) { mark(id, &FlightRecord::started_ns); }  // all ranks have come
  void done(uint64_t id) { mark(id, &FlightRecord::done_ns); }

 private:
  FlightRecord& record(uint64_t id);
  void mark(uint64_t id, int64_t FlightRecord::*time);

  std::byte* map_ = nullptr;
  size_t map_bytes_ = 0;
  uint64_t capacity_ = 0;
  std::atomic<uint64_t> issued_{0};
};

struct FlightLog {
  FlightHeader header;
  std::vector<FlightRecord> records;  // oldest first
};
FlightLog read_flight(const std::string& path);

// A table of the `last` newest operations, for people.
std::string flight_text(const FlightLog& log, int64_t last);

}  // namespace phalanx::comm
