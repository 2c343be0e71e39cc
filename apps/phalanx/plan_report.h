// File: apps/phalanx/plan_report.h
//
// Purpose: what `phalanx plan` prints: one priced layout, or a ranked search, as text and as JSON.
// Contract: the same numbers in both forms; seconds, bytes and FLOP in JSON, rounded units in text.
#pragma once

#include <string>
#include <vector>

#include "apps/phalanx/plan_flags.h"
#include "phalanx/base/json.h"
#include "phalanx/pipeline/schedule.h"
#include "phalanx/plan/counts.h"
#include "phalanx/plan/flops_meter.h"

namespace phalanx::apps {

struct PricedLayout {
  Schedule schedule;
  ParameterCounts counts;
  StepFlops flops;
  MeterReading meter;
  MemoryPlan memory;
  StepTime time;
  std::vector<std::string> notes;
};

// Error(kBadInput) for a layout that breaks a rule of the model or of the cluster.
PricedLayout price_layout(const PlanRequest& request);

std::string layout_text(const PlanRequest& request, const PricedLayout& priced);
Json layout_json(const PlanRequest& request, const PricedLayout& priced);

std::string search_text(const PlanRequest& request, const SearchResult& result, size_t top);
Json search_json(const PlanRequest& request, const SearchResult& result, size_t top);

// FLOP of a step by the program's attention: fused ones skip the half that is masked.
StepFlops flops_of(const PlanRequest& request, const PlanLayout& layout);

}  // namespace phalanx::apps
