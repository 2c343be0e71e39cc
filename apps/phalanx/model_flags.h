// File: apps/phalanx/model_flags.h
//
// Purpose: the flags shared by the verbs that use a trained model: --model, --dtype, --device, --threads, --tensor,
//   --pipeline, --help. The two numbers of ranks are also --parallel.tensor and --parallel.pipeline, and as Megatron says.
// Contract: unknown flags and missing values are Error(kUsage). Sets LibTorch's thread count; of several ranks, --threads
//   is each one's.
#pragma once

#include <string>
#include <vector>

#include "apps/phalanx/verbs.h"
#include "phalanx/config/flags.h"
#include "phalanx/infer/text_model.h"

namespace phalanx::apps {

struct OwnFlag {
  const char* name;
  FlagKind kind;
};

struct ModelFlags {
  bool help = false;
  std::string verb;
  std::string model;
  LoadOptions load;
  ParsedFlags parsed;

  std::string required(const std::string& flag) const;
  // The value of a flag as a number, or `otherwise`.
  double number(const std::string& flag, double otherwise) const;
  int64_t integer(const std::string& flag, int64_t otherwise) const;
};

// --batch: sequences at a time.
BatchLimits batch_limits(const ModelFlags& flags);

ModelFlags parse_model_flags(const std::string& verb, const Arguments& args, const std::vector<OwnFlag>& own);

}  // namespace phalanx::apps
