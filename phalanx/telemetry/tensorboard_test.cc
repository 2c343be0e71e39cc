#include "phalanx/telemetry/tensorboard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "phalanx/base/fs.h"
#include "phalanx/telemetry/test_errors.h"
#include "phalanx/telemetry/tfrecord.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;

std::string from_hex(std::string_view hex) {
  std::string bytes;
  for (size_t i = 0; i < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  }
  return bytes;
}

// An independent reader: bit-wise checksum, generic protobuf walk.
uint32_t slow_crc32c(std::string_view bytes) {
  uint32_t crc = 0xFFFFFFFF;
  for (const char c : bytes) {
    crc ^= static_cast<uint8_t>(c);
    for (int i = 0; i < 8; ++i) crc = crc & 1 ? crc >> 1 ^ 0x82F63B78 : crc >> 1;
  }
  return ~crc;
}

template <typename T>
T take(std::string_view& bytes) {
  T value{};
  EXPECT_GE(bytes.size(), sizeof(T));
  std::memcpy(&value, bytes.data(), std::min(sizeof(T), bytes.size()));
  bytes.remove_prefix(std::min(sizeof(T), bytes.size()));
  return value;
}

uint64_t take_varint(std::string_view& bytes) {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = take<uint8_t>(bytes);
    value |= uint64_t{byte & 0x7Fu} << shift;
    if ((byte & 0x80) == 0 || shift > 63) return value;
  }
}

struct Field {
  int number;
  uint64_t bits;  // varint and fixed values
  std::string_view bytes;
};

std::vector<Field> fields_of(std::string_view message) {
  std::vector<Field> fields;
  while (!message.empty()) {
    const uint64_t key = take_varint(message);
    Field field{static_cast<int>(key >> 3), 0, {}};
    switch (key & 7) {
      case 0:
        field.bits = take_varint(message);
        break;
      case 1:
        field.bits = take<uint64_t>(message);
        break;
      case 5:
        field.bits = take<uint32_t>(message);
        break;
      case 2: {
        const uint64_t size = take_varint(message);
        field.bytes = message.substr(0, size);
        message.remove_prefix(size);
        break;
      }
      default:
        ADD_FAILURE() << "wire type " << (key & 7);
        return fields;
    }
    fields.push_back(field);
  }
  return fields;
}

struct ReadEvent {
  double wall_time = 0;
  int64_t step = 0;
  std::string file_version;
  int session_status = 0;
  std::vector<std::pair<std::string, float>> scalars;
};

std::vector<ReadEvent> read_events(const std::string& path) {
  const std::string file = read_file(path);
  std::string_view left = file;
  std::vector<ReadEvent> events;
  const auto masked = [](std::string_view bytes) {
    const uint32_t crc = slow_crc32c(bytes);
    return (crc >> 15 | crc << 17) + 0xA282EAD8;
  };
  while (!left.empty()) {
    const std::string_view length_bytes = left.substr(0, 8);
    const auto length = take<uint64_t>(left);
    EXPECT_EQ(take<uint32_t>(left), masked(length_bytes));
    const std::string_view payload = left.substr(0, length);
    left.remove_prefix(length);
    EXPECT_EQ(take<uint32_t>(left), masked(payload));
    ReadEvent event;
    for (const Field& field : fields_of(payload)) {
      if (field.number == 1) event.wall_time = std::bit_cast<double>(field.bits);
      if (field.number == 2) event.step = static_cast<int64_t>(field.bits);
      if (field.number == 3) event.file_version = field.bytes;
      if (field.number == 7) event.session_status = static_cast<int>(fields_of(field.bytes).at(0).bits);
      if (field.number != 5) continue;
      for (const Field& value : fields_of(field.bytes)) {
        EXPECT_EQ(value.number, 1);
        const std::vector<Field> parts = fields_of(value.bytes);
        const auto bits = static_cast<uint32_t>(parts.at(1).bits);
        event.scalars.emplace_back(std::string(parts.at(0).bytes), std::bit_cast<float>(bits));
      }
    }
    events.push_back(event);
  }
  return events;
}

TEST(Tfrecord, ChecksumAndFraming) {
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(crc32c(""), 0u);
  EXPECT_EQ(crc32c(std::string(100, '\xFF')), slow_crc32c(std::string(100, '\xFF')));
}

TEST(TensorBoard, GoldenBytes) {
  const std::string version = from_hex("0900000040fc54d9411a0d627261696e2e4576656e743a32");
  EXPECT_EQ(file_version_event(1700000000.0), version);
  EXPECT_EQ(tfrecord(version),
            from_hex("1800000000000000") + from_hex("a37f4b22") + version + from_hex("eced8f9d"));

  const std::string loss = from_hex("0900004040fc54d94110052a0d0a0b0a046c6f73731500002040");
  const TensorBoardScalar scalar{"loss", 2.5};
  EXPECT_EQ(scalar_event(1700000001.0, 5, {&scalar, 1}), loss);
  EXPECT_EQ(tfrecord(loss),
            from_hex("1a00000000000000") + from_hex("129bd82d") + loss + from_hex("8fb2f3d0"));
}

TEST(TensorBoard, WritesWhatTheIndependentReaderReads) {
  const TemporaryDirectory folder;
  double now = 1700000000.0;
  TensorBoardWriter board(folder.path() + "/new/tensorboard", {.wall_clock = [&now] { return now += 0.25; }});
  const std::string long_tag(300, 't');  // lengths of more than one varint byte
  board.scalars(0, {{"loss", 10.5}});
  board.scalars(int64_t{1} << 40, {{"loss", 0.0}, {"lr", 6e-4}, {long_tag, -1.5}});
  board.scalars(3, {{"nan", std::nan("")}, {"inf", INFINITY}});
  board.flush();
  board.close();

  EXPECT_THAT(std::filesystem::path(board.path()).filename().string(),
              MatchesRegex("events\\.out\\.tfevents\\.1700000000\\..+\\.[0-9]+\\.0"));
  const std::vector<ReadEvent> events = read_events(board.path());
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(events[0].file_version, "brain.Event:2");
  EXPECT_EQ(events[1].step, 0);
  EXPECT_EQ(events[1].wall_time, 1700000000.5);
  EXPECT_EQ(events[2].step, int64_t{1} << 40);
  const std::vector<std::pair<std::string, float>> expected = {
      {"loss", 0.f}, {"lr", 6e-4f}, {long_tag, -1.5f}};
  EXPECT_EQ(events[2].scalars, expected);
  EXPECT_TRUE(std::isnan(events[3].scalars.at(0).second));
  EXPECT_EQ(events[3].scalars.at(1).second, INFINITY);
}

TEST(TensorBoard, MetricsTakeTheirTagsFromMetricsJsonl) {
  const TemporaryDirectory folder;
  TensorBoardWriter board(folder.path());
  board.metrics({.step = 7, .loss = 2.5, .tokens = 4096, .valid_bpb = 1.25, .skipped = true});
  const std::vector<ReadEvent> events = read_events(board.path());
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[1].step, 7);
  std::vector<std::string> tags;
  for (const auto& [tag, value] : events[1].scalars) tags.push_back(tag);
  EXPECT_EQ(tags,
            (std::vector<std::string>{"loss", "grad_norm", "lr", "tokens", "tokens_per_s", "tflops", "mfu",
                                      "seconds", "stash_bytes", "exposed_comm_s", "valid_bpb", "skipped"}));
  EXPECT_EQ(events[1].scalars[3].second, 4096.f);
  EXPECT_EQ(events[1].scalars[11].second, 1.f);
}

// TensorBoard reads files in the order of their names: a resumed run's file must come later even within one second, and
// even if the clock went back.
TEST(TensorBoard, AResumedRunStartsALaterFileThatDropsOrphans) {
  const TemporaryDirectory folder;
  const auto open = [&](double now, std::optional<int64_t> first_step) {
    return TensorBoardWriter(folder.path(), {.first_step = first_step, .wall_clock = [now] { return now; }})
        .path();
  };
  write_file_atomic(folder.path() + "/events.out.tfevents.foreign", "not ours");
  const std::string first = open(1700000000.0, std::nullopt);
  const std::string second = open(1700000000.9, 51);
  const std::string third = open(1600000000.0, 71);
  EXPECT_LT(first, second);
  EXPECT_LT(second, third);
  // A run on another host, whose name sorts last, within the same second.
  const std::string other = folder.path() + "/events.out.tfevents.1700000007.~.1.0";
  AppendFile(other, OpenMode::kCreateNew).append(tfrecord(file_version_event(1700000007.0)));
  EXPECT_LT(other, open(1700000007.5, 91));
  EXPECT_EQ(read_events(first).size(), 1u);
  const std::vector<ReadEvent> events = read_events(second);
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[1].session_status, 1);
  EXPECT_EQ(events[1].step, 51);
}

TEST(TensorBoard, AnUnwritableFolderIsAnIoError) {
  const TemporaryDirectory folder;
  write_file_atomic(folder.path() + "/file", "x");
  const Error error = error_of([&] { TensorBoardWriter board(folder.path() + "/file/tensorboard"); });
  EXPECT_EQ(error.kind(), ErrorKind::kIo);
  EXPECT_THAT(error.what(), HasSubstr(folder.path() + "/file/tensorboard: got create folder failed"));
  EXPECT_THAT(error_of([&] { TensorBoardWriter board(folder.path() + "/file"); }).kind(), ErrorKind::kIo);
}

}  // namespace
}  // namespace phalanx
