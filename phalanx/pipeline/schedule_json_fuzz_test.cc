// Files that were changed at random, byte by byte and value by value: whatever comes, the answer is a schedule that can
// be simulated or an Error, never a crash.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <random>

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/base/json.h"
#include "phalanx/pipeline/generate.h"
#include "phalanx/pipeline/schedule_json.h"
#include "phalanx/pipeline/simulate.h"
#include "phalanx/pipeline/verify.h"

namespace phalanx {
namespace {

constexpr std::string_view kPieces[] = {
    "[",     "]",     "{",       "}",          "\"", ":",      ",",  "-",    "0",
    "1",     "99",    "1e9",     "null",       "\\", "true",   "\n", "\xff", "\"peer\":",
    "\"F\"", "\"W\"", "\\u0000", "2147483647", "-1", "\"BW\"", "[]", "{}"};

class Fuzzer {
 public:
  explicit Fuzzer(unsigned seed) : random_(seed) {}

  std::string sample() {
    const ScheduleKind& kind = schedule_kinds()[below(schedule_kinds().size())];
    return schedule_to_json(make_schedule({.kind = std::string(kind.name),
                                           .pp = 1 + static_cast<int>(below(3)),
                                           .chunks = std::max(kind.min_chunks, kind.max_chunks),
                                           .micro_batches = 1 + static_cast<int>(below(3)),
                                           .forward_only = below(4) == 0}));
  }

  std::string edit_bytes(std::string text) {
    for (size_t edits = 1 + below(3); edits > 0; --edits) {
      const size_t at = text.empty() ? 0 : below(text.size());
      const size_t length = std::min<size_t>(1 + below(8), text.size() - at);
      switch (below(6)) {
        case 0:
          text.erase(at, length);
          break;
        case 1:
          text.insert(at, kPieces[below(std::size(kPieces))]);
          break;
        case 2:
          text.insert(at, text.substr(at, length));
          break;
        case 3:
          if (!text.empty()) text[at] = static_cast<char>(random_());
          break;
        case 4:  // a digit for a digit: often valid JSON
          for (size_t i = at; i < text.size(); ++i) {
            if (text[i] < '0' || text[i] > '9') continue;
            text[i] = static_cast<char>('0' + below(10));
            break;
          }
          break;
        default:
          if (below(4) == 0) text.resize(at);
          break;
      }
    }
    return text;
  }

  // Valid JSON with one value, anywhere, replaced, taken out or doubled.
  std::string edit_tree(const std::string& text) {
    Json json = parse_json(text, "sample");
    for (size_t edits = 1 + below(2); edits > 0; --edits) {
      Json* node = &json;
      while (node->is_structured() && !node->empty() && below(6) != 0) {
        const auto child = static_cast<ptrdiff_t>(below(node->size()));
        if (node->is_array() && below(8) == 0) {
          if (below(2) == 0) {
            node->erase(static_cast<size_t>(child));
          } else {
            node->push_back(Json((*node)[static_cast<size_t>(child)]));
          }
          break;
        }
        node = &*std::next(node->begin(), child);
      }
      *node = value(3);
    }
    return json.dump(-1, ' ', true);
  }

 private:
  size_t below(size_t end) { return random_() % end; }

  Json value(int depth) {
    static const std::vector<Json> kScalars = {nullptr,
                                               true,
                                               false,
                                               0,
                                               1,
                                               2,
                                               -1,
                                               3.5,
                                               1e300,
                                               "",
                                               "F",
                                               "BW",
                                               "send_f",
                                               "x",
                                               16777216,
                                               2147483647,
                                               std::numeric_limits<int64_t>::min(),
                                               std::numeric_limits<uint64_t>::max()};
    static const std::vector<std::string> kKeys = {"op",    "mb", "chunk",  "peer",  "version", "kind",
                                                   "ranks", "pp", "chunks", "other", ""};
    if (depth == 0 || below(4) != 0) return kScalars[below(kScalars.size())];
    Json node = below(2) == 0 ? Json::array() : Json::object();
    for (size_t i = below(4); i > 0; --i) {
      if (node.is_array()) {
        node.push_back(value(depth - 1));
      } else {
        node[kKeys[below(kKeys.size())]] = value(depth - 1);
      }
    }
    return node;
  }

  std::mt19937 random_;
};

void expect_schedule_or_error(unsigned seed, int rounds, const std::function<std::string(Fuzzer&)>& make) {
  Fuzzer fuzzer(seed);
  int runs = 0;
  int read = 0;
  for (int round = 0; round < rounds; ++round) {
    const std::string text = make(fuzzer);
    try {
      const Schedule schedule = schedule_from_json(text, "fuzz.json");
      ++read;
      ASSERT_EQ(schedule_from_json(schedule_to_json(schedule), "again.json"), schedule) << text;
      verify(schedule, "fuzz.json");
      ++runs;
      ASSERT_GT(simulate(schedule).makespan, 0) << text;
    } catch (const Error& error) {
      ASSERT_EQ(error.kind(), ErrorKind::kBadInput) << error.what();
      ASSERT_NE(std::string(error.what()).find("fuzz.json"), std::string::npos) << error.what();
      ASSERT_LT(std::string(error.what()).size(), 20000u);
    }
  }
  // All three happen, or the edits are no test.
  EXPECT_GT(runs, rounds / 200);
  EXPECT_GT(read - runs, rounds / 100);
  EXPECT_GT(rounds - read, rounds / 20);
}

std::string edited_bytes(Fuzzer& fuzzer) {
  return fuzzer.edit_bytes(fuzzer.sample());
}

std::string edited_tree(Fuzzer& fuzzer) {
  return fuzzer.edit_tree(fuzzer.sample());
}

TEST(ScheduleJsonMutation, EditedBytes) {
  expect_schedule_or_error(1, 10000, edited_bytes);
}

TEST(ScheduleJsonMutation, EditedTrees) {
  expect_schedule_or_error(2, 10000, edited_tree);
}

TEST(ScheduleJsonFuzz, EditedBytes) {
  for (unsigned seed = 3; seed < 5; ++seed) expect_schedule_or_error(seed, 100000, edited_bytes);
}

TEST(ScheduleJsonFuzz, EditedTrees) {
  for (unsigned seed = 5; seed < 7; ++seed) expect_schedule_or_error(seed, 100000, edited_tree);
}

}  // namespace
}  // namespace phalanx
