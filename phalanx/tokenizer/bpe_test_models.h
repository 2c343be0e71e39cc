// File: phalanx/tokenizer/bpe_test_models.h
//
// Purpose: small BPE models for tests: the 256 bytes have the ids of their values, each merge the next one.
#pragma once

#include <random>
#include <string>
#include <utility>
#include <vector>

#include "phalanx/tokenizer/bpe_model.h"

namespace phalanx {

// The parts of each merge must be bytes or results of merges before it.
inline BpeModel make_model(const std::vector<std::pair<std::string, std::string>>& merges) {
  BpeModel model;
  for (int b = 0; b < 256; ++b) model.tokens.push_back(std::string(1, static_cast<char>(b)));
  const auto find = [&](const std::string& token) {
    for (size_t id = 0; id < model.tokens.size(); ++id) {
      if (model.tokens[id] == token) return static_cast<int32_t>(id);
    }
    return -1;
  };
  for (const auto& [left, right] : merges) {
    int32_t result = find(left + right);
    if (result < 0) {
      result = static_cast<int32_t>(model.tokens.size());
      model.tokens.push_back(left + right);
    }
    model.merges.push_back({.left = find(left), .right = find(right), .result = result});
  }
  return model;
}

// Merges of random tokens over the first `letters` letters; some results have two ways to them.
inline BpeModel random_model(std::mt19937& random, size_t letters, size_t merges) {
  std::vector<std::string> tokens;
  for (size_t i = 0; i < letters; ++i) tokens.push_back(std::string(1, static_cast<char>('a' + i)));
  std::vector<std::pair<std::string, std::string>> chosen;
  while (chosen.size() < merges) {
    const std::pair<std::string, std::string> pair = {tokens[random() % tokens.size()],
                                                      tokens[random() % tokens.size()]};
    bool known = false;
    for (const auto& other : chosen) known = known || other == pair;
    if (known) continue;
    chosen.push_back(pair);
    tokens.push_back(pair.first + pair.second);
  }
  return make_model(chosen);
}

}  // namespace phalanx
