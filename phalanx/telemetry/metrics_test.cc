#include "phalanx/telemetry/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <filesystem>
#include <limits>
#include <random>

#include "phalanx/base/fs.h"
#include "phalanx/base/log.h"
#include "phalanx/telemetry/test_errors.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

StepMetrics full_record(int64_t step) {
  return {.step = step,
          .loss = 10.8 / static_cast<double>(step),
          .grad_norm = 1.0 / 3.0,
          .lr = 6e-4,
          .tokens = 4096,
          .tokens_per_s = 20480.5,
          .tflops = 0.0421,
          .mfu = 0.431,
          .seconds = 0.2,
          .stash_bytes = int64_t{1} << 60,
          .exposed_comm_s = 0,
          .valid_loss = 3.5,
          .valid_bpb = 2.25,
          .skipped = true,
          .loss_scale = 65536.0,
          .consumed_samples = 9007199254740993};
}

class MetricsFile : public ::testing::Test {
 protected:
  void write(const std::string& text) {
    std::filesystem::remove(
        path_);  // some file systems sync a file that is replaced in place: slow in a loop
    AppendFile(path_, OpenMode::kCreateNew).append(text);
  }
  std::string line(int64_t step, double loss) { return metrics_to_json({.step = step, .loss = loss}) + "\n"; }
  TemporaryDirectory folder_;
  std::string path_ = folder_.path() + "/metrics.jsonl";
};

TEST(Metrics, TheLineIsWhatScriptsExpect) {
  EXPECT_EQ(
      metrics_to_json({.step = 3, .loss = 2.5, .grad_norm = 0.1, .lr = 6e-4, .tokens = 8, .seconds = 2}),
      R"({"step":3,"loss":2.5,"grad_norm":0.1,"lr":0.0006,"tokens":8,"tokens_per_s":0.0,"tflops":0.0,)"
      R"("mfu":0.0,"seconds":2.0,"stash_bytes":0,"exposed_comm_s":0.0})");
  EXPECT_THAT(metrics_to_json(full_record(1)),
              HasSubstr(R"("valid_loss":3.5,"valid_bpb":2.25,"skipped":true,"loss_scale":65536.0,)"
                        R"("consumed_samples":9007199254740993})"));
}

TEST(Metrics, RecordsReadBackEqual) {
  EXPECT_EQ(metrics_from_json(metrics_to_json(full_record(7)), "x"), full_record(7));
  EXPECT_EQ(metrics_from_json(metrics_to_json({.step = 1}), "x"), (StepMetrics{.step = 1}));
}

TEST(Metrics, DoublesReadBackBitEqual) {
  std::mt19937_64 random(1);
  std::vector<double> values = {0.0, -0.0, 0.1,       5e-324,    std::numeric_limits<double>::max(),
                                3.0, 1e22, kInfinity, -kInfinity};
  while (values.size() < 5000) {
    const auto value = std::bit_cast<double>(random());
    if (std::isfinite(value)) values.push_back(value);
  }
  for (const double value : values) {
    const StepMetrics back = metrics_from_json(metrics_to_json({.loss = value, .valid_loss = value}), "x");
    ASSERT_EQ(std::bit_cast<uint64_t>(back.loss), std::bit_cast<uint64_t>(value)) << value;
    ASSERT_EQ(std::bit_cast<uint64_t>(*back.valid_loss), std::bit_cast<uint64_t>(value)) << value;
  }
}

TEST(Metrics, NotANumberAndInfinityAreStrings) {
  const StepMetrics metrics{.loss = std::nan(""), .grad_norm = kInfinity, .lr = -kInfinity};
  const std::string text = metrics_to_json(metrics);
  EXPECT_THAT(text, HasSubstr(R"("loss":"NaN","grad_norm":"Infinity","lr":"-Infinity")"));
  const StepMetrics back = metrics_from_json(text, "x");
  EXPECT_TRUE(std::isnan(back.loss));
  EXPECT_EQ(back.grad_norm, kInfinity);
  EXPECT_EQ(back.lr, -kInfinity);
}

TEST(Metrics, WrongFieldsAreNamed) {
  const std::string good = metrics_to_json({.step = 3, .loss = 2.5, .skipped = true});
  const auto with = [&good](const std::string& from, const std::string& to) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    return error_of([&] { metrics_from_json(text, "m.jsonl:4"); });
  };
  EXPECT_STREQ(
      with("\"step\":3,", "").what(),
      "m.jsonl:4: field 'step': got no such field; needed the field. Fix: check the file; it may be of another "
      "kind or cut short");
  EXPECT_THAT(with("\"step\":3", "\"step\":3.5").what(),
              HasSubstr("'step': got 3.5; needed a 64-bit integer"));
  EXPECT_THAT(with("\"step\":3", "\"step\":18446744073709551615").what(),
              HasSubstr("needed a 64-bit integer"));
  EXPECT_THAT(with("2.5", "\"high\"").what(),
              HasSubstr("'loss': got \"high\"; needed a number, \"NaN\", \"Infinity\""));
  EXPECT_THAT(with("2.5", "true").what(), HasSubstr("'loss': got true; needed a number"));
  EXPECT_THAT(with("true", "1").what(), HasSubstr("'skipped': got 1; needed true or false"));
  EXPECT_EQ(with("true", "1").kind(), ErrorKind::kBadInput);
  EXPECT_THAT(with("2.5", "1e999").what(), HasSubstr("needed one JSON object"));
}

TEST_F(MetricsFile, UnknownKeysAndNullOptionalsAreAccepted) {
  const std::string text = metrics_to_json({.step = 3}) + "\n";
  write(text.substr(0, text.size() - 2) + ",\"valid_loss\":null,\"gpu_temperature\":[60]}\r\n\n");
  EXPECT_EQ(read_metrics(path_), std::vector<StepMetrics>{{.step = 3}});
}

TEST_F(MetricsFile, TheLastRecordOfAStepCounts) {
  write(line(1, 5) + line(2, 4) + line(3, 3) + line(2, 4.5));
  const std::vector<StepMetrics> records = read_metrics(path_);
  ASSERT_EQ(records.size(), 3u);
  EXPECT_EQ(records[0].loss, 5);
  EXPECT_EQ(records[1].loss, 4.5);
  EXPECT_EQ(records[2].loss, 3);
}

TEST_F(MetricsFile, AppendsAcrossWritersAndIsReadableWhileOpen) {
  {
    MetricsWriter writer(path_, 2);
    for (int step = 1; step <= 5; ++step) {
      writer.append(full_record(step));
      EXPECT_EQ(read_metrics(path_).size(), static_cast<size_t>(step));
    }
  }
  MetricsWriter writer(path_);
  writer.append({.step = 4, .loss = 1});
  writer.close();
  const std::vector<StepMetrics> records = read_metrics(path_);
  ASSERT_EQ(records.size(), 5u);
  EXPECT_EQ(records[3], (StepMetrics{.step = 4, .loss = 1}));
  EXPECT_EQ(records[4], full_record(5));
}

// Whatever byte a kill stopped at, reading gives the whole records and a resumed writer continues a valid file.
TEST_F(MetricsFile, EveryTruncationIsToleratedAndRepaired) {
  const std::string first = line(1, 5);
  const std::string whole = first + line(2, 4);
  set_log_level("error");  // a warning for each repair is right, and noise here
  for (size_t size = 0; size <= whole.size(); ++size) {
    write(whole.substr(0, size));
    const bool second = size + 1 >= whole.size();  // complete but for its newline
    const size_t expected = second ? 2 : (size + 1 >= first.size() ? 1 : 0);
    ASSERT_EQ(read_metrics(path_).size(), expected) << size;
    MetricsWriter(path_).append({.step = 9});
    const std::vector<StepMetrics> records = read_metrics(path_);
    ASSERT_EQ(records.size(), expected + 1) << size;
    ASSERT_EQ(records.back().step, 9);
  }
  set_log_level("info");
}

TEST_F(MetricsFile, ACorruptMiddleLineIsAnErrorWithItsNumber) {
  write(line(1, 5) + "{\"step\":2,\"lo\x01ss\n" + line(3, 3));
  const Error error = error_of([&] { read_metrics(path_); });
  EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
  EXPECT_EQ(std::string(error.what()),
            path_ +
                ":2: got '{\"step\":2,\"lo?ss'; needed one JSON object. Fix: delete that "
                "line; the others stay valid");
  write(line(1, 5) + line(2, 4) + "[1,2]\n");
  EXPECT_THAT(error_of([&] { read_metrics(path_); }).what(), HasSubstr(path_ + ":3: got '[1,2]'"));
  write(line(1, 5) + "{\"step\":2}\n");
  EXPECT_THAT(error_of([&] { read_metrics(path_); }).what(),
              HasSubstr(":2: field 'loss': got no such field"));
  write(std::string(300, '[') + "\n");
  EXPECT_THAT(error_of([&] { read_metrics(path_); }).what(), HasSubstr(":1: got '[[[["));
}

TEST_F(MetricsFile, MissingAndUnwritableFilesAreIoErrors) {
  EXPECT_EQ(error_of([&] { read_metrics(path_); }).kind(), ErrorKind::kIo);
  EXPECT_THAT(error_of([&] { read_metrics(path_); }).what(), HasSubstr("No such file"));
  EXPECT_EQ(error_of([&] { MetricsWriter writer(folder_.path() + "/no/m.jsonl"); }).kind(), ErrorKind::kIo);
  EXPECT_EQ(error_of([&] { MetricsWriter writer(folder_.path()); }).kind(), ErrorKind::kIo);
  MetricsWriter writer("/dev/full");
  EXPECT_THAT(error_of([&] { writer.append({}); }).what(),
              HasSubstr("/dev/full: got write failed: No space left"));
}

TEST_F(MetricsFile, AnEmptyFileHasNoRecords) {
  write("");
  EXPECT_TRUE(read_metrics(path_).empty());
}

// Damaged files give records or a bad-input error that names file and line, nothing else. A cut tail is no damage.
TEST_F(MetricsFile, FuzzDamagedFiles) {
  std::mt19937_64 random(20240229);
  std::string base;
  for (int step = 1; step <= 6; ++step) base += metrics_to_json(full_record(step)) + "\n";
  const std::string_view nasty = "{}[]\",:\n\\\0e-+.9";
  int refused = 0;
  int accepted = 0;
  for (int round = 0; round < 4000; ++round) {
    std::string text = base;
    const auto edits = 1 + random() % 4;
    for (uint64_t k = 0; k < edits && !text.empty(); ++k) {
      const size_t at = random() % text.size();
      switch (random() % 5) {
        case 0:
          text[at] = static_cast<char>(text[at] ^ (1 << random() % 8));
          break;
        case 1:
          text[at] = nasty[random() % nasty.size()];
          break;
        case 2:
          text.insert(at, 1, static_cast<char>(random()));
          break;
        case 3:
          text.erase(at, 1 + random() % 40);
          break;
        default:
          text.insert(at, text.substr(random() % text.size(), random() % 200));
          break;
      }
    }
    write(text);
    try {
      ASSERT_LE(read_metrics(path_).size(), 40u);
      ++accepted;
    } catch (const Error& error) {
      ASSERT_EQ(error.kind(), ErrorKind::kBadInput);
      ASSERT_THAT(error.what(), ::testing::StartsWith(path_ + ":"));
      ++refused;
    }
  }
  EXPECT_GT(refused, 500);
  EXPECT_GT(accepted, 100);
}

}  // namespace
}  // namespace phalanx
