#include "phalanx/comm/flight_recorder.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "phalanx/base/clock.h"
#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"

namespace phalanx::comm {
namespace {

constexpr double kLatestDate = 253402300800;  // the year 10000, in seconds from 1970

int64_t now_ns() {
  return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

[[noreturn]] void throw_io(const std::string& path, const std::string& action, int error) {
  throw Error(ErrorKind::kIo, {.where = path,
                               .got = action + " failed: " + std::strerror(error),
                               .needed = "a file that the flight recorder can write",
                               .fix = "free space on that disk or choose another folder"});
}

[[noreturn]] void throw_damaged(const std::string& path, const std::string& got, const std::string& needed) {
  throw Error(ErrorKind::kBadInput, {.where = path,
                                     .got = got,
                                     .needed = needed,
                                     .fix = "give a file that a rank's flight recorder has written"});
}

FlightHeader read_header(const std::string& path, std::span<const std::byte> bytes) {
  FlightHeader header;
  const FlightHeader expected;
  if (bytes.size() < sizeof(header)) {
    throw_damaged(path, fmt::format("{} bytes", bytes.size()), "a flight record of at least 64 bytes");
  }
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (std::memcmp(header.magic, expected.magic, sizeof(header.magic)) != 0)
    throw_damaged(path, "another kind of file", "a flight record");
  if (header.version != expected.version || header.record_bytes != expected.record_bytes) {
    throw_damaged(path, fmt::format("a flight record of version {}", header.version),
                  fmt::format("version {}", expected.version));
  }
  const auto room = static_cast<int64_t>((bytes.size() - sizeof(header)) / sizeof(FlightRecord));
  if (header.capacity < 1 || header.capacity != room) {
    throw_damaged(path, fmt::format("room for {} records", room),
                  fmt::format("the {} that its header names", header.capacity));
  }
  if (!(header.began_wall >= 0 && header.began_wall < kLatestDate))
    throw_damaged(path, "a date that is none", "the seconds at which the run began");
  return header;
}

double milliseconds(int64_t from_ns, int64_t to_ns) {
  return (static_cast<double>(to_ns) - static_cast<double>(from_ns)) * 1e-6;
}

}  // namespace

FlightRecorder::FlightRecorder(const std::string& path, int rank, int64_t capacity)
    : map_bytes_(sizeof(FlightHeader) + static_cast<size_t>(capacity) * sizeof(FlightRecord)),
      capacity_(static_cast<uint64_t>(capacity)) {
  if (path_exists(path) && ::rename(path.c_str(), (path + ".previous").c_str()) != 0)
    throw_io(path, "rename", errno);
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) throw_io(path, "create", errno);
  const int reserved = ::posix_fallocate(fd, 0, static_cast<off_t>(map_bytes_));
  void* map =
      reserved == 0 ? ::mmap(nullptr, map_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
  const int error = reserved != 0 ? reserved : errno;
  ::close(fd);
  if (map == MAP_FAILED) throw_io(path, reserved != 0 ? "reserve space" : "map", error);
  map_ = static_cast<std::byte*>(map);
  const FlightHeader header{.capacity = capacity,
                            .rank = rank,
                            .process = ::getpid(),
                            .began_ns = now_ns(),
                            .began_wall = wall_seconds()};
  std::memcpy(map_, &header, sizeof(header));
}

FlightRecorder::~FlightRecorder() {
  ::munmap(map_, map_bytes_);
}

FlightRecord& FlightRecorder::record(uint64_t id) {
  const size_t place = static_cast<size_t>((id - 1) % capacity_);
  return *reinterpret_cast<FlightRecord*>(map_ + sizeof(FlightHeader) + place * sizeof(FlightRecord));
}

uint64_t FlightRecorder::issue(std::string_view group, OpKind kind, int peer, int64_t sequence,
                               int64_t bytes) {
  const uint64_t id = ++issued_;
  FlightRecord& to = record(id);
  // No id while the fields change: a process that dies here leaves a place that reads as unused.
  std::atomic_ref(to.id).exchange(0, std::memory_order_acq_rel);
  to.sequence = sequence;
  to.bytes = bytes;
  to.kind = static_cast<uint32_t>(kind);
  to.peer = peer;
  const size_t length = std::min(group.size(), sizeof(to.group));
  std::memcpy(to.group, group.data(), length);
  std::memset(to.group + length, 0, sizeof(to.group) - length);
  std::atomic_ref(to.issued_ns).store(now_ns(), std::memory_order_relaxed);
  std::atomic_ref(to.started_ns).store(0, std::memory_order_relaxed);
  std::atomic_ref(to.done_ns).store(0, std::memory_order_relaxed);
  std::atomic_ref(to.id).store(id, std::memory_order_release);
  return id;
}

void FlightRecorder::mark(uint64_t id, int64_t FlightRecord::*time) {
  FlightRecord& to = record(id);
  if (std::atomic_ref(to.id).load(std::memory_order_acquire) != id) return;  // pushed out meanwhile
  std::atomic_ref(to.*time).store(now_ns(), std::memory_order_relaxed);
}

FlightLog read_flight(const std::string& path) {
  const MappedFile file(path);
  FlightLog log{.header = read_header(path, file.bytes()), .records = {}};
  for (int64_t place = 0; place < log.header.capacity; ++place) {
    FlightRecord record;
    const size_t offset = sizeof(FlightHeader) + static_cast<size_t>(place) * sizeof(record);
    std::memcpy(&record, file.bytes().data() + offset, sizeof(record));
    if (record.id == 0) continue;
    const bool fits =
        (record.id - 1) % static_cast<uint64_t>(log.header.capacity) == static_cast<uint64_t>(place);
    if (!fits || record.kind >= static_cast<uint32_t>(kOpKinds)) {
      throw_damaged(path, fmt::format("record {} with id {} and kind {}", place, record.id, record.kind),
                    "records as they were written");
    }
    log.records.push_back(record);
  }
  std::ranges::sort(log.records, {}, &FlightRecord::id);
  return log;
}

std::string flight_text(const FlightLog& log, int64_t last) {
  const auto count = std::min(log.records.size(), static_cast<size_t>(std::max<int64_t>(last, 0)));
  const uint64_t total = log.records.empty() ? 0 : log.records.back().id;
  const auto began = fmt::gmtime(static_cast<std::time_t>(log.header.began_wall));
  std::string text =
      fmt::format("rank {}, process {}, began {:%Y-%m-%d %H:%M:%S} UTC: the last {} of {} operations\n",
                  log.header.rank, log.header.process, began, count, total);
  text += fmt::format("{:>8} {:<16} {:>8} {:<24} {:>12} {:<8} {:>12} {:>10} {:>10}\n", "number", "group",
                      "sequence", "operation", "bytes", "state", "issued s", "gather ms", "run ms");
  const auto span = [](int64_t from, int64_t to) {
    return from == 0 || to == 0 ? std::string("-") : fmt::format("{:.3f}", milliseconds(from, to));
  };
  for (size_t i = log.records.size() - count; i < log.records.size(); ++i) {
    const FlightRecord& r = log.records[i];
    const auto kind = static_cast<OpKind>(r.kind);
    std::string operation = op_name(kind);
    if (r.peer >= 0) operation += fmt::format(" {} rank {}", kind == OpKind::kSend ? "to" : "from", r.peer);
    text += fmt::format("{:>8} {:<16} {:>8} {:<24} {:>12} {:<8} {:>12.6f} {:>10} {:>10}\n", r.id,
                        std::string_view(r.group, ::strnlen(r.group, sizeof(r.group))), r.sequence, operation,
                        r.bytes, r.state(), milliseconds(log.header.began_ns, r.issued_ns) * 1e-3,
                        span(r.issued_ns, r.started_ns), span(r.started_ns, r.done_ns));
  }
  return text;
}

}  // namespace phalanx::comm
