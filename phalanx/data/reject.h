// File: phalanx/data/reject.h
//
// Purpose: what becomes of input that cannot be used: counted by reason, the first few remembered, and a limit beyond
//   which the job stops, because then the input is not what its user thinks it is.
// Contract: pure. A limit is a number of lines ("100"), looked at after every line, or a share ("2%"), looked at once
//   kSample lines are read and, when a user asked for it, at the end.
// Units: lines count from 1; a file that is one document counts as one line.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace phalanx {

enum class RejectReason {
  kBrokenJson,
  kNotAnObject,
  kMissingKey,
  kNotText,
  kNulByte,
  kTooLong,
  kNotEncodable
};
inline constexpr size_t kRejectReasons = 7;

// As the summary and its JSON spell it: "broken_json".
std::string_view reject_name(RejectReason reason);

struct Rejection {
  RejectReason reason = RejectReason::kBrokenJson;
  std::string detail;
};

struct RejectedLine {
  int64_t line = 0;
  Rejection rejection;
};

struct RejectExample {
  std::string where;  // file:line
  std::string what;
};

struct RejectCounts {
  static constexpr size_t kExamples = 5;

  std::array<int64_t, kRejectReasons> by_reason{};
  std::vector<RejectExample> examples;  // the first ones

  int64_t total() const;
  void add(const RejectCounts& other);
};

struct RejectLimit {
  static constexpr int64_t kSample = 1000;

  std::optional<int64_t> lines;
  double share = 0.01;
  bool at_end = false;  // hold a share against fewer than kSample lines, too

  // "100" or "2.5%"; Error(kUsage) naming --max-rejected otherwise.
  static RejectLimit parse(const std::string& text);
  std::string text() const;

  // Error(kBadInput) with the first examples when the limit is passed.
  void check(const RejectCounts& rejected, int64_t lines_read, bool end) const;
};

}  // namespace phalanx
