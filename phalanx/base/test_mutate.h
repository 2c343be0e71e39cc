// File: phalanx/base/test_mutate.h
//
// Purpose: damaged texts for fuzz tests of readers: what an editor, a bad disk or a careless script would leave.
// Contract: one to four edits, each an erased, repeated, inserted or overwritten piece, a number, or an early end.
//   `pieces` are the words that the format gives meaning to. Same random state, same text.
#pragma once

#include <algorithm>
#include <random>
#include <span>
#include <string>
#include <string_view>

namespace phalanx::testing {

inline std::string mutate(std::string text, std::mt19937& random, std::span<const std::string_view> pieces) {
  const int edits = 1 + static_cast<int>(random() % 4);
  for (int i = 0; i < edits; ++i) {
    const size_t at = text.empty() ? 0 : random() % text.size();
    const size_t length = std::min<size_t>(1 + random() % 6, text.size() - at);
    switch (random() % 6) {
      case 0:
        text.erase(at, length);
        break;
      case 1:
        text.insert(at, pieces[random() % pieces.size()]);
        break;
      case 2:
        text.insert(at, text.substr(at, length));
        break;
      case 3:
        if (!text.empty()) text[at] = static_cast<char>(random());
        break;
      case 4:
        text.insert(at, std::to_string(random()));
        break;
      default:
        text.resize(at);
        break;
    }
  }
  return text;
}

}  // namespace phalanx::testing
