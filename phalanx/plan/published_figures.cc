#include "phalanx/plan/published.h"

#include <algorithm>

namespace phalanx {
namespace {

// Micro-batch, weak scaling, schedules, and what is sent between stages.
std::vector<FigureConfig> techniques() {
  return {
      {.figure = 7,
       .params_billion = 1,
       .layers = 4,
       .hidden = 4096,
       .heads = 128,
       .gpus = 1,
       .tp = 1,
       .pp = 1,
       .swept = "micro-batch 1 to 16"},
      {.figure = 11,
       .hidden = 20480,
       .heads = 128,
       .tp = 8,
       .micro_batch = 1,
       .batches = {8, 128},
       .swept = "pp 1 to 8 with 3 layers a stage, 15B to 121B parameters"},
      {.figure = 12,
       .params_billion = 175,
       .layers = 96,
       .hidden = 12288,
       .heads = 96,
       .gpus = 96,
       .tp = 8,
       .pp = 12,
       .batches = {12, 24, 36, 48, 60},
       .swept = "schedule: 1f1b, interleaved with 4 chunks",
       .curves = {{"1f1b", {12, 24, 36, 48, 60}, {82, 109, 122, 130, 135}},
                  {"interleaved", {12, 24, 36, 48, 60}, {119, 134, 141, 143, 146}}}},
      {.figure = 18,
       .params_billion = 175,
       .layers = 96,
       .hidden = 12288,
       .heads = 96,
       .gpus = 96,
       .batches = {12, 24, 36, 48, 60},
       .swept = "scatter/gather on or off",
       .curves = {{"off", {12, 24, 36, 48, 60}, {107, 120, 127, 130, 131}},
                  {"on", {12, 24, 36, 48, 60}, {119, 134, 142, 144, 147}}}},
  };
}

// Ways to split a fixed number of GPUs, and batches.
std::vector<FigureConfig> trade_offs() {
  return {
      {.figure = 13,
       .params_billion = 162.2,
       .layers = 32,
       .hidden = 20480,
       .heads = 128,
       .gpus = 64,
       .batches = {32, 128},
       .swept = "tp x pp = 64",
       .curves = {{"tp 8, pp 8", {32, 128}, {142, 165}}}},
      {.figure = 14,
       .params_billion = 5.9,
       .layers = 32,
       .hidden = 3840,
       .heads = 32,
       .gpus = 64,
       .micro_batch = 1,
       .batches = {32, 128, 512},
       .swept = "pp x dp = 64"},
      {.figure = 15,
       .params_billion = 5.9,
       .layers = 32,
       .hidden = 3840,
       .heads = 32,
       .gpus = 64,
       .micro_batch = 1,
       .batches = {32, 128, 512},
       .swept = "tp x dp = 64"},
      {.figure = 16,
       .params_billion = 91,
       .layers = 32,
       .hidden = 15360,
       .heads = 128,
       .gpus = 64,
       .tp = 8,
       .pp = 8,
       .batches = {128, 512},
       .swept = "micro-batch 1 to 8"},
      {.figure = 17,
       .params_billion = 145,
       .layers = 80,
       .hidden = 12288,
       .heads = 96,
       .gpus = 128,
       .tp = 8,
       .pp = 16,
       .swept = "batch up to 256, recompute on or off"},
  };
}

}  // namespace

std::vector<FigureConfig> figure_configs() {
  std::vector<FigureConfig> figures = techniques();
  const std::vector<FigureConfig> splits = trade_offs();
  figures.insert(figures.end(), splits.begin(), splits.end());
  std::sort(figures.begin(), figures.end(),
            [](const FigureConfig& a, const FigureConfig& b) { return a.figure < b.figure; });
  return figures;
}

}  // namespace phalanx
