// File: apps/phalanx/plan_flags.h
//
// Purpose: the command line of `phalanx plan` as values: model, layout, cluster, program, search space.
// Contract: the model and the layout come from the same sections, files and Megatron flags as those of `phalanx train`
//   (model, parallel, train.{micro,global}_batch_size, train.recompute*); --preset also knows published models that cannot
//   be trained yet. Data and optimizer settings are read and not looked at. Types are 16-bit with fp32 masters.
// Errors: Error(kUsage) for flags, Error(kBadInput) for what they say.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/phalanx/verbs.h"
#include "phalanx/config/flags.h"
#include "phalanx/plan/search.h"
#include "phalanx/train/run_config.h"

namespace phalanx::apps {

struct PlanRequest {
  ParsedFlags flags;
  RunConfig config;  // model section unresolved for a published model
  bool published = false;
  PlanModel model;
  PlanLayout layout;
  int64_t gpus = 0;
  Cluster cluster;
  Software software;
  StashAccount account = StashAccount::kPhalanx;
  double reserve = 0.05;

  MemoryOptions memory() const;
  int64_t capacity() const;
};

const std::vector<FlagAlias>& plan_flags();
ParsedFlags parse_plan_flags(const Arguments& args, ConfigTree& tree);

// `config` of the result is where `tree` points into: the request must not move.
void read_request(PlanRequest& request, ConfigTree& tree);

// From the --max-*, --schedules, --recomputes, --zeros flags.
SearchSpace search_space(const PlanRequest& request);

// A preset or a published model by name.
PlanModel named_model(const std::string& name);

}  // namespace phalanx::apps
