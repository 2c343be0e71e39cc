// File: phalanx/data/jsonl_reader.h
//
// Purpose: the texts of one line of JSON, or why there are none.
// Contract: the whole line is checked, not only the wanted fields. A text is a string, or a list of strings (a document
//   that was cut into sequences before); of a key that stands twice the last counts, as in Python. What is no Unicode
//   becomes U+FFFD and marks the line `repaired`: bytes that are no UTF-8 (one for each longest start of a character)
//   and the escape of half a surrogate pair. Numbers of any size are fine. A NUL byte in the line is refused, an
//   escaped one is text. Not thread-safe: one reader a thread.
// Units: bytes. Lines come without their line end; spaces around the object do not matter.
// Example: JsonlReader r({"text"}); if (auto reason = r.read(line)) reject(*reason); else encode(r.texts(0));
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "phalanx/data/reject.h"

namespace phalanx {

class JsonlReader {
 public:
  // Bytes that must be readable behind the line that read() gets; what they are does not matter.
  static constexpr size_t kPadding = 64;

  explicit JsonlReader(std::vector<std::string> keys);
  ~JsonlReader();
  JsonlReader(JsonlReader&&) noexcept;

  // Nothing when the line is good; texts() and repaired() then tell about it until the next call.
  std::optional<Rejection> read(std::string_view line);
  std::span<const std::string_view> texts(size_t key) const { return texts_[key]; }
  bool repaired() const { return repaired_; }

 private:
  struct Parser;
  std::optional<Rejection> extract();

  std::vector<std::string> keys_;
  std::vector<std::vector<std::string_view>> texts_;  // by key
  std::unique_ptr<Parser> parser_;
  bool repaired_ = false;
};

// Whether a line is one JSON object (any object).
bool is_json_object(const std::string& line);

}  // namespace phalanx
