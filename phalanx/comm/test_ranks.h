// File: phalanx/comm/test_ranks.h
//
// Purpose: for tests: a thread a rank on a hub world, and the errors they end with.
#pragma once

#include <gtest/gtest.h>

#include <exception>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "phalanx/comm/local_hub.h"

namespace phalanx::comm::testing {

// What every rank threw, empty where it ended well. A failing rank poisons the world, one that ends leaves it.
inline std::vector<std::string> outcomes(HubWorld& world, const std::function<void(int)>& body) {
  std::vector<std::string> texts(static_cast<size_t>(world.size()));
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < world.size(); ++rank) {
    threads.emplace_back([&, rank] {
      try {
        body(rank);
        world.leave(rank);
      } catch (const std::exception& error) {
        texts[static_cast<size_t>(rank)] = error.what();
        world.poison("rank " + std::to_string(rank) + " failed: " + error.what());
      }
    });
  }
  threads.clear();
  return texts;
}

inline void on_all_ranks(HubWorld& world, const std::function<void(int)>& body) {
  for (const std::string& text : outcomes(world, body)) EXPECT_EQ(text, "");
}

inline std::vector<int> first_ranks(int count) {
  std::vector<int> ranks;
  for (int r = 0; r < count; ++r) ranks.push_back(r);
  return ranks;
}

}  // namespace phalanx::comm::testing
