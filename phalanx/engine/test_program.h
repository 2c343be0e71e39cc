// File: phalanx/engine/test_program.h
//
// Purpose: for tests of the executor: a model of many small stages whose every rank can hold any of them, a reader of a
//   side input among them, and random legal schedules.
// Contract: stage s computes y = tanh(x W_s) (stage 0: of the batch's tokens); stage 0 also makes the side input
//   "latents"; stage `reader` adds latents U to its output; the last stage returns nll = sum of y^2 / 2 by row. Weights
//   are the same in every program of one seed. Stages between are frozen when `frozen` is set.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <vector>

#include "phalanx/base/error.h"
#include "phalanx/nn/stage_program.h"
#include "phalanx/pipeline/build_schedule.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::testing {

inline constexpr int64_t kWidth = 4;

class TestProgram : public StageProgram {
 public:
  TestProgram(int stages, std::vector<int> stage_of_chunk, int reader = -1, bool frozen = false)
      : stages_(stages), stage_of_chunk_(std::move(stage_of_chunk)), reader_(reader) {
    for (int s = 0; s < stages; ++s) {
      weights_.push_back(make("w", 100 + static_cast<uint64_t>(s)));
      weights_.back()->trainable = !(frozen && s > 0 && s < reader);
    }
    latent_ = make("encoder", 7);
    read_ = make("read", 8);
  }

  Tensor forward(int chunk, const Tensor& x, const Batch& batch, Side& side, Stash& stash) override {
    const int stage = stage_of_chunk_[static_cast<size_t>(chunk)];
    Tensor in = x;
    if (stage == 0) {
      in = input_of(batch);
      if (reader_ >= 0) side.inputs["latents"].value = in.matmul(latent_->data);
      stash.push(in, "in");
    } else {
      stash.push(in, "in");
    }
    Tensor y = in.matmul(weights_[static_cast<size_t>(stage)]->data).tanh();
    stash.push(y, "y");
    if (stage == reader_) {
      const Tensor& latents = side.inputs.at("latents").value;
      stash.push(latents, "latents");
      y = y + latents.matmul(read_->data);
    }
    if (stage + 1 < stages_) return y;
    stash.push(y, "out");
    return y.square().sum(1) / 2;
  }

  Tensor backward(int chunk, const Tensor& dy, const Batch&, Side& side, Stash& stash,
                  WeightGrads& grads) override {
    const int stage = stage_of_chunk_[static_cast<size_t>(chunk)];
    Tensor grad = dy;
    if (stage + 1 == stages_) grad = stash.pop() * dy.unsqueeze(1);
    if (stage == reader_) {
      const Tensor latents = stash.pop();
      add(*read_, latents, grad, grads);
      side.add_grad("latents", grad.matmul(read_->data.t()));
    }
    const Tensor y = stash.pop();
    grad = grad * (1 - y.square());
    const Tensor in = stash.pop();
    Parameter& weight = *weights_[static_cast<size_t>(stage)];
    add(weight, in, grad, grads);
    if (stage == 0 && reader_ >= 0) add(*latent_, in, side.inputs.at("latents").grad, grads);
    return stage == 0 ? Tensor() : grad.matmul(weight.data.t());
  }

  TensorSpec boundary(const Batch& batch) const override {
    return {.name = "", .shape = {batch.num_rows(), kWidth}, .dtype = at::kDouble};
  }
  std::vector<TensorSpec> side_into(int stage, const Batch& batch) const override {
    if (reader_ < 0 || stage > reader_) return {};
    return {{.name = "latents", .shape = {batch.num_rows(), kWidth}, .dtype = at::kDouble}};
  }
  at::Device device() const override { return at::kCPU; }

  // By stage; the encoder's and the reader's follow.
  std::vector<Parameter*> parameters() {
    std::vector<Parameter*> all;
    for (auto& weight : weights_) all.push_back(weight.get());
    all.push_back(latent_.get());
    all.push_back(read_.get());
    return all;
  }

 private:
  static std::unique_ptr<Parameter> make(const char* name, uint64_t seed) {
    auto parameter = std::make_unique<Parameter>();
    parameter->name = name;
    parameter->data = testing::random_tensor({kWidth, kWidth}, seed).to(at::kDouble) * 0.5;
    parameter->main_grad = at::zeros_like(parameter->data);
    return parameter;
  }
  static Tensor input_of(const Batch& batch) {
    const Tensor t = batch.tokens.to(at::kDouble).unsqueeze(1);
    return (t * at::arange(1, kWidth + 1, at::kDouble)).sin();
  }
  static void add(Parameter& parameter, const Tensor& in, const Tensor& grad, WeightGrads& grads) {
    grads.defer(parameter, static_cast<int64_t>(in.nbytes() + grad.nbytes()), [in, grad](GradSlot slot) {
      if (slot.beta == 0) slot.main_grad.zero_();
      slot.main_grad.add_(in.t().matmul(grad));
    });
  }

  int stages_;
  std::vector<int> stage_of_chunk_;
  int reader_;
  std::vector<std::unique_ptr<Parameter>> weights_;
  std::unique_ptr<Parameter> latent_, read_;
};

inline std::vector<Batch> test_batches(int micro_batches, int64_t rows = 3) {
  std::vector<Batch> batches;
  for (int m = 0; m < micro_batches; ++m) {
    Batch batch;
    batch.num_samples = 1;
    batch.seq_length = rows;
    batch.tokens = at::arange(m * rows, (m + 1) * rows, at::kLong);
    batch.loss_weight = at::full({rows}, 0.1, at::kDouble);
    batches.push_back(batch);
  }
  return batches;
}

// Any order of the actions that respects the data, on any placement; B and W apart for some micro-batches.
inline Schedule random_schedule(uint64_t seed, int pp, int chunks, int micro_batches) {
  uint64_t state = seed * 2654435761U + 12345;
  const auto pick = [&state](size_t n) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<size_t>((state >> 33) % n);
  };
  const int stages = pp * chunks;
  std::vector<int> order(static_cast<size_t>(stages));
  for (int s = 0; s < stages; ++s) order[static_cast<size_t>(s)] = s;
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[pick(i)]);
  Placement placement(static_cast<size_t>(pp));
  for (size_t i = 0; i < order.size(); ++i) placement[i % static_cast<size_t>(pp)].push_back(order[i]);
  const std::vector<Holder> by_stage = holders(placement);

  struct Progress {
    int forward = 0;           // stages done
    int backward = 0;          // from the last one
    std::vector<int> weights;  // stages whose W may run
    bool split = false;
  };
  std::vector<Progress> progress(static_cast<size_t>(micro_batches));
  for (Progress& p : progress) p.split = pick(2) == 0;
  std::vector<ActionList> compute(static_cast<size_t>(pp));
  const auto put = [&](Op op, int mb, int stage) {
    const Holder h = by_stage[static_cast<size_t>(stage)];
    compute[static_cast<size_t>(h.rank)].push_back({.op = op, .micro_batch = mb, .chunk = h.chunk});
  };
  std::vector<int> open(static_cast<size_t>(micro_batches));
  for (int m = 0; m < micro_batches; ++m) open[static_cast<size_t>(m)] = m;
  while (!open.empty()) {
    const size_t at = pick(open.size());
    const int mb = open[at];
    Progress& p = progress[static_cast<size_t>(mb)];
    if (!p.weights.empty() && (pick(2) == 0 || p.backward == stages)) {
      const size_t w = pick(p.weights.size());
      put(Op::kBackwardWeight, mb, p.weights[w]);
      p.weights.erase(p.weights.begin() + static_cast<std::ptrdiff_t>(w));
    } else if (p.forward < stages) {
      put(Op::kForward, mb, p.forward++);
    } else if (p.backward < stages) {
      const int stage = stages - 1 - p.backward++;
      put(p.split ? Op::kBackwardInput : Op::kBackward, mb, stage);
      if (p.split) p.weights.push_back(stage);
    }
    if (p.backward == stages && p.weights.empty()) open.erase(open.begin() + static_cast<std::ptrdiff_t>(at));
  }
  return build_schedule("random", micro_batches, placement, compute);
}

}  // namespace phalanx::testing
