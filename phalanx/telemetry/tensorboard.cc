#include "phalanx/telemetry/tensorboard.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <type_traits>
#include <utility>
#include <vector>

#include "phalanx/base/clock.h"
#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/telemetry/tfrecord.h"

namespace phalanx {
namespace {

constexpr std::string_view kPrefix = "events.out.tfevents.";

// Protobuf field numbers and their wire types: a key byte is number << 3 | wire type.
constexpr int kVarint = 0;
constexpr int kFixed64 = 1;
constexpr int kBytes = 2;
constexpr int kFixed32 = 5;

void append_key(std::string& out, int field, int wire_type) {
  out += static_cast<char>(field << 3 | wire_type);
}

void append_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

void append_bytes(std::string& out, int field, std::string_view bytes) {
  append_key(out, field, kBytes);
  append_varint(out, bytes.size());
  out += bytes;
}

template <typename Bits>
void append_fixed(std::string& out, int field, int wire_type, Bits bits) {
  append_key(out, field, wire_type);
  for (size_t i = 0; i < sizeof(bits); ++i) out += static_cast<char>(bits >> (8 * i));
}

std::string event_header(double wall_time, int64_t step) {
  std::string event;
  append_fixed(event, 1, kFixed64, std::bit_cast<uint64_t>(wall_time));
  if (step != 0) {  // protobuf leaves default values out
    append_key(event, 2, kVarint);
    append_varint(event, static_cast<uint64_t>(step));
  }
  return event;
}

std::string host_name() {
  std::array<char, 256> buffer{};
  if (::gethostname(buffer.data(), buffer.size() - 1) != 0 || buffer[0] == '\0') return "localhost";
  return buffer.data();
}

// The SECONDS part of the newest event file in the folder, or 0.
int64_t newest_event_file(const std::string& folder) {
  int64_t newest = 0;
  std::error_code error;
  std::filesystem::directory_iterator it(folder, error);
  for (; !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (!name.starts_with(kPrefix)) continue;
    int64_t seconds = 0;
    const char* first = name.data() + kPrefix.size();
    const auto parsed = std::from_chars(first, name.data() + name.size(), seconds);
    if (parsed.ec == std::errc() && parsed.ptr - first == 10) newest = std::max(newest, seconds);
  }
  return newest;
}

std::string new_event_path(const std::string& folder, double wall_time) {
  const int64_t seconds = std::max(static_cast<int64_t>(wall_time), newest_event_file(folder) + 1);
  const std::string stem =
      fmt::format("{}/{}{:010}.{}.{}", folder, kPrefix, seconds, host_name(), ::getpid());
  int n = 0;
  while (path_exists(fmt::format("{}.{}", stem, n))) ++n;
  return fmt::format("{}.{}", stem, n);
}

}  // namespace

std::string file_version_event(double wall_time) {
  std::string event = event_header(wall_time, 0);
  append_bytes(event, 3, "brain.Event:2");
  return event;
}

std::string session_start_event(double wall_time, int64_t first_step) {
  std::string event = event_header(wall_time, first_step);
  const std::string_view session_log("\x08\x01", 2);  // status (field 1, varint) = START
  append_bytes(event, 7, session_log);
  return event;
}

std::string scalar_event(double wall_time, int64_t step, std::span<const TensorBoardScalar> scalars) {
  std::string summary;
  for (const TensorBoardScalar& scalar : scalars) {
    std::string value;
    append_bytes(value, 1, scalar.tag);
    append_fixed(value, 2, kFixed32, std::bit_cast<uint32_t>(static_cast<float>(scalar.value)));
    append_bytes(summary, 1, value);
  }
  std::string event = event_header(wall_time, step);
  append_bytes(event, 5, summary);
  return event;
}

TensorBoardWriter::TensorBoardWriter(const std::string& folder, TensorBoardOptions options)
    : wall_clock_(std::move(options.wall_clock)) {
  if (!wall_clock_) wall_clock_ = wall_seconds;
  make_directories(folder);
  const double now = wall_clock_();
  file_ = std::make_unique<AppendFile>(new_event_path(folder, now), OpenMode::kCreateNew);
  file_->append(tfrecord(file_version_event(now)));
  if (options.first_step.has_value()) file_->append(tfrecord(session_start_event(now, *options.first_step)));
}

void TensorBoardWriter::scalars(int64_t step, std::span<const TensorBoardScalar> scalars) {
  file_->append(tfrecord(scalar_event(wall_clock_(), step, scalars)));
}

void TensorBoardWriter::scalars(int64_t step, std::initializer_list<TensorBoardScalar> list) {
  scalars(step, std::span<const TensorBoardScalar>(list.begin(), list.size()));
}

void TensorBoardWriter::metrics(const StepMetrics& metrics) {
  std::vector<TensorBoardScalar> list;
  visit_metrics(metrics, [&list]<typename T>(std::string_view key, const T& field) {
    if (key == "step") return;
    if constexpr (std::is_arithmetic_v<T>) {
      list.push_back({key, static_cast<double>(field)});
    } else if (field.has_value()) {
      list.push_back({key, static_cast<double>(*field)});
    }
  });
  scalars(metrics.step, list);
}

void TensorBoardWriter::flush() {
  file_->sync();
}

void TensorBoardWriter::close() {
  file_->close();
}

}  // namespace phalanx
