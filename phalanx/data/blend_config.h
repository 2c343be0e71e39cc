// File: phalanx/data/blend_config.h
//
// Purpose: the words of --data-path and its relatives as prefixes and weights, by Megatron's rule.
//   "p"                one data set
//   "p1" "p2" "p3"     several, weighted by their sizes
//   "30" "p1" "70" "p2"  weights and prefixes in turn: an even number of words of which the 1st, 3rd, ... are numbers
// Contract: pure but for the two readers of files. A weight that is not a positive finite number, and a word that stands
//   where a weight must, are Error(kBadInput) naming the entry. `where` names the words for errors, as in
//   "data.data_path".
// Units: weights are relative. Entries count from 1.
// Source: Megatron's get_blend_from_list; --data-args-path (words between spaces), --per-split-data-args-path (JSON of
//   three lists: train, valid, test).
#pragma once

#include <array>
#include <span>
#include <string>
#include <vector>

#include "phalanx/data/data_config.h"

namespace phalanx {

enum class SplitPart { kTrain, kValid, kTest };
const char* split_part_name(SplitPart part);  // train, valid, test

struct Blend {
  std::vector<std::string> prefixes;
  std::vector<double> weights;  // as written; empty: none were
};

Blend parse_blend(std::span<const std::string> words, const std::string& where);

std::vector<std::string> read_blend_words(const std::string& path);
std::array<std::vector<std::string>, 3> read_split_blend_words(const std::string& path);

// What a part of the split reads. `cut`: the prefixes are shared by the parts and cut by data.split. No prefixes: the
// config gives this part no data. Naming the data in two ways is Error(kBadInput).
struct PartData {
  Blend blend;
  bool cut = false;
};
PartData data_of_part(const DataConfig& config, SplitPart part);

// For a run's start: whether the config names any data but mock data, and Error(kBadInput) for what cannot be.
bool names_data(const DataConfig& config);

}  // namespace phalanx
