// File: phalanx/optim/test_toy_run.h
//
// Purpose: for tests: some AdamW steps of the toy tensors under any layout, ranks as threads, and the comparison with one
//   rank.
// Contract: micro-batch m belongs to data rank m % dp. Results are kept rank by rank: every replica is compared.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "phalanx/comm/local.h"
#include "phalanx/optim/optimizer.h"
#include "phalanx/optim/test_toy_layout.h"
#include "phalanx/tensor/weight_grads.h"

namespace phalanx::testing {

struct ToyRun {
  ToyLayout layout{};
  int64_t zero_stage = 0;
  int64_t bucket_elements = 300;
  bool overlap = true;
  bool counts = true;  // calls begin_step
  ToyMutant mutant = ToyMutant::kNone;
  at::ScalarType dtype = at::kDouble;
  at::ScalarType accumulator = at::kDouble;
  int64_t micro_batches = 5;
  int64_t first_step = 0;
  int64_t steps = 5;
  OptimConfig config = {.weight_decay = 0.1, .clip_grad = 0.5};
  bool local_norm = false;  // a mutant: no model group
  // What the rank talks to instead of its data group; null: that group itself.
  std::function<std::unique_ptr<comm::Group>(comm::Group&)> wrap_data{};
  std::function<void(int rank, int64_t step, Tensor& gradient)> spoil{};
  std::function<void(int rank, Optimizer&, ToyRank&)> before{};
  std::function<void(int rank, Optimizer&, ToyRank&)> after{};
};

struct ToyBox {
  std::string name;  // "weight NAME", "master NAME", "exp_avg NAME", "exp_avg_sq NAME"
  Box box;
  Tensor values;
};

struct ToyRankResult {
  std::vector<Optimizer::StepResult> steps;
  std::vector<ToyBox> boxes;
  int64_t bytes = 0;
  double weight_norm = 0;
};

// The head, then the other uses in about the reverse of forward order: neighbours are swapped, as when weight gradients
// are deferred, so that buckets do not fill in their own order.
inline void toy_backward(ToyRank& toy, const ToyRun& run, int rank, int64_t step, int64_t micro_batch,
                         WeightGrads& grads) {
  const auto parameters = toy.parameters();
  const auto add = [&](Parameter& p, int use) {
    Tensor gradient = toy.gradient(p, step, micro_batch, use);
    if (run.spoil) run.spoil(rank, step, gradient);
    grads.add(p, gradient);
  };
  for (Parameter* p : parameters) {
    if (p->uses == 2) add(*p, 1);
  }
  const size_t n = parameters.size();
  for (size_t i = 0; i < n; ++i) {
    const size_t other = i ^ 1;
    add(*parameters[n - 1 - (other < n ? other : i)], 0);
  }
}

inline std::vector<ToyBox> toy_boxes(Optimizer& optimizer, ToyRank& toy) {
  std::vector<ToyBox> boxes;
  for (Parameter* p : toy.parameters()) {
    for (const Segment& s : p->segments)
      boxes.push_back({"weight " + s.name, s.global_box, view_of(p->full(), s.local_box).clone()});
  }
  for (const Optimizer::State& s : optimizer.state()) {
    boxes.push_back({"master " + s.segment->name, s.box, s.master.clone()});
    boxes.push_back({"exp_avg " + s.segment->name, s.box, s.exp_avg.clone()});
    boxes.push_back({"exp_avg_sq " + s.segment->name, s.box, s.exp_avg_sq.clone()});
  }
  return boxes;
}

inline ToyRankResult run_toy_rank(const ToyRun& run, int rank, OptimParallel parallel) {
  ToyRank toy(run.layout, rank, run.dtype, run.mutant);
  parallel.zero_stage = run.zero_stage;
  parallel.bucket_elements = run.bucket_elements;
  parallel.overlap = run.overlap;
  Optimizer optimizer(toy.parameters(), run.config, run.accumulator, parallel);
  if (run.before) run.before(rank, optimizer, toy);
  WeightGrads grads;
  grads.on_applied = [&](Parameter& p) { optimizer.on_applied(p); };
  ToyRankResult result;
  for (int64_t step = run.first_step; step < run.first_step + run.steps; ++step) {
    std::vector<int64_t> mine;
    for (int64_t m = run.layout.d(rank); m < run.micro_batches; m += run.layout.dp) mine.push_back(m);
    if (run.counts) optimizer.begin_step(static_cast<int64_t>(mine.size()));
    for (const int64_t m : mine) toy_backward(toy, run, rank, step, m, grads);
    result.steps.push_back(optimizer.step(0.01, 1.0));
    optimizer.finish_step();
  }
  result.boxes = toy_boxes(optimizer, toy);
  result.bytes = optimizer.bytes();
  result.weight_norm = optimizer.weight_norm();
  if (run.after) run.after(rank, optimizer, toy);
  return result;
}

inline std::vector<ToyRankResult> run_toy(const ToyRun& run) {
  std::vector<ToyRankResult> results(static_cast<size_t>(run.layout.world()));
  if (run.layout.world() == 1) {
    results[0] = run_toy_rank(run, 0, {});
    return results;
  }
  comm::LocalWorld world(run.layout.world(), {.deadline = 20, .threads_per_rank = 1});
  comm::run_ranks(world, [&](int rank) {
    std::map<std::vector<int>, std::unique_ptr<comm::Group>> replicas;
    const auto data = world.group(rank, "data", run.layout.data_ranks(rank));
    const auto model = world.group(rank, "model", run.layout.model_ranks(rank));
    const auto wrapped = run.wrap_data ? run.wrap_data(*data) : nullptr;
    OptimParallel parallel;
    parallel.data = wrapped ? wrapped.get() : data.get();
    parallel.model = run.local_norm ? nullptr : model.get();
    parallel.group_of = [&](const std::vector<int>& ranks) {
      auto& group = replicas[ranks];
      if (!group) group = world.group(rank, "replicas", ranks);
      return group.get();
    };
    results[static_cast<size_t>(rank)] = run_toy_rank(run, rank, parallel);
  });
  return results;
}

// "" when every rank agrees with the one rank of `reference`, within `bar`.
inline std::string toy_difference(const std::vector<ToyRankResult>& results, const ToyRankResult& reference,
                                  double bar = 1e-12) {
  std::map<std::string, Tensor> whole;
  for (const ToyBox& box : reference.boxes) whole[box.name] = box.values;
  for (size_t rank = 0; rank < results.size(); ++rank) {
    const ToyRankResult& r = results[rank];
    const std::string at = "rank " + std::to_string(rank) + " ";
    for (size_t i = 0; i < r.steps.size(); ++i) {
      const double norm = r.steps[i].grad_norm, expected = reference.steps[i].grad_norm;
      if (norm != results[0].steps[i].grad_norm && std::isfinite(norm)) return at + "has another norm";
      if (std::isfinite(expected) && !(std::abs(norm - expected) <= bar * expected))
        return at + "norm " + std::to_string(norm) + " for " + std::to_string(expected);
      if (r.steps[i].applied != reference.steps[i].applied) return at + "skipped another step";
    }
    // The order of a sum is the layout's, so that a bar of zero is for values only.
    if (!(std::abs(r.weight_norm - reference.weight_norm) <= std::max(bar, 1e-12) * reference.weight_norm))
      return at + "norm of the weights";
    for (const ToyBox& box : r.boxes) {
      if (box.box.num_elements() == 0) continue;
      const Tensor expected = view_of(whole.at(box.name), box.box);
      const double error = (box.values - expected).abs().max().item<double>();
      if (!(error <= bar))
        return at + box.name + " " + to_string(box.box) + " is off by " + std::to_string(error);
    }
  }
  return "";
}

}  // namespace phalanx::testing
