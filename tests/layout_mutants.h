// File: tests/layout_mutants.h
//
// Purpose: where a test puts a classic mistake into a run on many ranks without touching the library: between a rank and a
//   group of it, and between the executor and the model.
// Contract: EditedGroup forwards everything but what its functions answer; a function that answers nullptr leaves the
//   call to the real group. Ranks of a group must answer alike, or the others wait. EditedProgram is a StageProgram that
//   forwards to the model; edited_step is a train step through one, written from public pieces: without an edit it must
//   give run_train_step's numbers.
#pragma once

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "phalanx/comm/wrapped_group.h"
#include "phalanx/engine/executor.h"
#include "phalanx/engine/train_step.h"
#include "phalanx/pipeline/generate.h"
#include "tests/layout_setting.h"

namespace phalanx::testing {

// Of an operation that is over, or was left out.
class NoWork : public comm::Work {
 public:
  void wait() override {}
  bool done() override { return true; }
};

inline comm::WorkPtr no_work() {
  return std::make_shared<NoWork>();
}

struct GroupEdit {
  std::function<comm::WorkPtr(comm::Group& real, Tensor& tensor, comm::ReduceOp op)> all_reduce;
  std::function<comm::WorkPtr(comm::Group& real, Tensor& out, Tensor& in)> all_gather;
};

class EditedGroup : public comm::WrappedGroup {
 public:
  EditedGroup(std::unique_ptr<comm::Group> real, GroupEdit edit)
      : EditedGroup(*real, std::move(real), std::move(edit)) {}
  comm::WorkPtr start_all_reduce(Tensor tensor, comm::ReduceOp op) override {
    if (edit_.all_reduce) {
      if (comm::WorkPtr work = edit_.all_reduce(real_, tensor, op)) return work;
    }
    return real_.start_all_reduce(std::move(tensor), op);
  }
  comm::WorkPtr start_all_gather(Tensor out, Tensor in) override {
    if (edit_.all_gather) {
      if (comm::WorkPtr work = edit_.all_gather(real_, out, in)) return work;
    }
    return real_.start_all_gather(std::move(out), std::move(in));
  }

 private:
  EditedGroup(comm::Group& real, std::unique_ptr<comm::Group>&& owned, GroupEdit edit)
      : WrappedGroup(std::move(owned)), real_(real), edit_(std::move(edit)) {}
  comm::WorkPtr around(const Asked&, const std::function<comm::WorkPtr()>& start) override { return start(); }

  comm::Group& real_;
  GroupEdit edit_;
};

class EditedProgram : public StageProgram {
 public:
  explicit EditedProgram(Model& model) : model_(model) {}
  Tensor forward(int chunk, const Tensor& x, const Batch& batch, Side& side, Stash& stash) override {
    return model_.forward(chunk, x, batch, side, stash);
  }
  Tensor backward(int chunk, const Tensor& dy, const Batch& batch, Side& side, Stash& stash,
                  WeightGrads& grads) override {
    return model_.backward(chunk, dy, batch, side, stash, grads);
  }
  TensorSpec boundary(const Batch& batch) const override { return model_.boundary(batch); }
  std::vector<TensorSpec> side_into(int stage, const Batch& batch) const override {
    return model_.side_into(stage, batch);
  }
  at::Device device() const override { return model_.device(); }

 private:
  Model& model_;
};

// Of the last stage's rows, once a tensor group.
inline double summed_nll(const ExecutorResult& result, const std::vector<Batch>& batches,
                         RankGroups& groups) {
  Tensor sum = at::zeros({1}, at::TensorOptions(at::kDouble));
  for (size_t i = 0; i < batches.size() && groups.tensor().rank() == 0; ++i) {
    if (result.nll[i].defined()) sum += (result.nll[i] * batches[i].loss_weight.ne(0)).sum();
  }
  groups.world().all_reduce(sum);
  return sum.item<double>();
}

// `Program` is made anew for each step, from the model and the layout. Several ranks.
template <typename Program>
StepOutcome edited_step(Model& model, Optimizer& optimizer, const std::vector<HostBatch>& hosts,
                        const StepContext& context, const StepLayout& layout) {
  const c10::NoGradGuard no_grad;
  RankGroups& groups = *layout.groups;
  Tensor counted = at::full({1}, count_labels(hosts), at::TensorOptions(at::kLong));
  groups.data().all_reduce(counted);
  const double labels = counted.item<double>();
  std::vector<Batch> batches;
  for (const HostBatch& host : hosts) {
    batches.push_back(
        make_batch(host, model.config().seq_length, context, 1.0 / labels, /*training=*/true, model));
  }
  const Schedule& schedule = layout.schedules->of(static_cast<int>(batches.size()), /*forward_only=*/false);
  Program program(model, layout);
  optimizer.begin_step(schedule.micro_batches);
  const ExecutorResult result = run_schedule(
      program, schedule,
      {.pipeline = groups.pipeline().size() > 1 ? &groups.pipeline() : nullptr, .tensor = &groups.tensor()},
      batches, {.on_applied = [&](Parameter& p) { optimizer.on_applied(p); }});
  StepOutcome outcome;
  outcome.loss = summed_nll(result, batches, groups) / labels;
  outcome.grad_norm = optimizer.step(context.lr, 1.0).grad_norm;
  optimizer.finish_step();
  return outcome;
}

using Mistake = std::function<LayoutRun(const Setting&)>;

// `edit` of every group of this name, made for a rank.
inline Mistake in_group(const std::string& name, const std::function<GroupEdit(int rank)>& edit) {
  return [=](const Setting& s) {
    return run(s, {.group = [&](int rank, std::unique_ptr<comm::Group> real) -> std::unique_ptr<comm::Group> {
                 if (real->name() != name) return real;
                 return std::make_unique<EditedGroup>(std::move(real), edit(rank));
               }});
  };
}

inline Mistake in_reductions(
    const std::string& name,
    const std::function<comm::WorkPtr(comm::Group&, Tensor&, comm::ReduceOp)>& reduce) {
  return in_group(name, [=](int) { return GroupEdit{.all_reduce = reduce, .all_gather = {}}; });
}

// Gradients of these tensors are complete, says the mutant.
inline Mistake called_identical(const std::function<bool(const std::string& name)>& chosen) {
  return [=](const Setting& s) {
    return run(s, {.built = [&](int, Model& model) {
                 for (Parameter* p : model.parameters()) {
                   for (Segment& segment : p->segments) {
                     if (chosen(segment.name)) segment.gradient = GradientKind::kIdentical;
                   }
                 }
               }});
  };
}

inline Mesh mesh_of(const Setting& s) {
  return plan_mesh(config_of(s).parallel).mesh;
}

using BatchEdit = std::function<void(int rank, int64_t step, std::vector<HostBatch>& batches)>;

inline LayoutRun with_batches(const Setting& s, const BatchEdit& edit) {
  std::vector<int64_t> step(static_cast<size_t>(mesh_of(s).world_size()), 0);  // of each rank
  return run(s, {.batches = [&](int rank, std::vector<HostBatch>& batches) {
               edit(rank, ++step[static_cast<size_t>(rank)], batches);
             }});
}

// `unseen`: from the setting where it is seen, what hides it.
inline void expect_caught(const Changes& seen, const std::vector<Changes>& unseen, const Mistake& mistake) {
  References references;
  const Setting s = plain_setting().with(seen);
  ASSERT_EQ(difference(s, run(s), references.of(s)), "") << "without the mistake";
  const std::string found = difference(s, mistake(s), references.of(s));
  EXPECT_NE(found, "") << "the mistake goes unseen: " << describe(s);
  std::printf("caught: %s\n", found.c_str());
  for (const Changes& changes : unseen) {
    const Setting neutral = s.with(changes);
    EXPECT_EQ(difference(neutral, mistake(neutral), references.of(neutral)), "")
        << "seen without the axis, too: " << describe(neutral);
  }
}

}  // namespace phalanx::testing
