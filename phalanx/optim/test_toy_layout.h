// File: phalanx/optim/test_toy_layout.h
//
// Purpose: for tests: a small set of logical tensors cut like a model's over tensor and pipeline ranks, with every kind
//   of segment: vocabulary rows with padding, columns, rows, replicated with equal and with partial gradients, fused
//   q/k/v whose k and v are partial, an embedding tied over the pipeline; and gradients that are a pure function of
//   (step, micro-batch, tensor, use).
// Contract: world rank = t + tp (d + dp p). Two layers; the first half of them and the embedding lie on stage 0.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "phalanx/shard/segments.h"
#include "phalanx/tensor/gradient_check.h"
#include "phalanx/tensor/parameter.h"

namespace phalanx::testing {

struct ToyLayout {
  int tp = 1;
  int dp = 1;
  int pp = 1;

  int world() const { return tp * dp * pp; }
  int rank(int t, int d, int p) const { return t + tp * (d + dp * p); }
  int t(int rank) const { return rank % tp; }
  int d(int rank) const { return rank / tp % dp; }
  int p(int rank) const { return rank / tp / dp; }
  std::vector<int> data_ranks(int rank) const {
    std::vector<int> ranks;
    for (int i = 0; i < dp; ++i) ranks.push_back(this->rank(t(rank), i, p(rank)));
    return ranks;
  }
  std::vector<int> model_ranks(int rank) const {
    std::vector<int> ranks;
    for (int j = 0; j < pp; ++j)
      for (int i = 0; i < tp; ++i) ranks.push_back(this->rank(i, d(rank), j));
    return ranks;
  }
};

// Classic mistakes, put into what the optimizer is told.
enum class ToyMutant { kNone, kTiedNotSummed, kNormNotSummed, kReplicatedCountedTwice };

inline uint64_t toy_hash(const std::string& text) {
  uint64_t hash = 1469598103934665603u;  // FNV-1a, which no standard library changes
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return hash % 1000003;
}

// The gradient of a whole logical tensor.
inline Tensor toy_gradient(const std::string& name, const Shape& shape, int64_t step, int64_t micro_batch,
                           int use) {
  const std::string key =
      name + "/" + std::to_string(step) + "/" + std::to_string(micro_batch) + "/" + std::to_string(use);
  return random_tensor(shape, toy_hash(key), at::kDouble, 0.1);
}

class ToyRank {
 public:
  ToyRank(const ToyLayout& layout, int rank, at::ScalarType dtype, ToyMutant mutant = ToyMutant::kNone)
      : layout_(layout), rank_(rank), dtype_(dtype), mutant_(mutant) {
    const bool first = layout.p(rank) == 0;
    const bool last = layout.p(rank) == layout.pp - 1;
    if (first) add_embedding();
    for (int layer = 0; layer < 2; ++layer) {
      if (layer * layout.pp / 2 == layout.p(rank)) add_layer("layers." + std::to_string(layer) + ".");
    }
    if (last) add("final_norm", {{.name = "final_norm", .shape = {6}}}, {{}}, /*partial=*/true);
    if (last && !first) add_embedding();
  }

  std::vector<Parameter*> parameters() {
    std::vector<Parameter*> result;
    for (auto& p : parameters_) result.push_back(p.get());
    return result;
  }

  // What this rank contributes to the gradient of `p` in one use of one micro-batch.
  Tensor gradient(const Parameter& p, int64_t step, int64_t micro_batch, int use) const {
    Tensor local = at::zeros(p.data.sizes(), at::kDouble);
    for (const Segment& segment : p.segments) {
      if (segment.global_box.num_elements() == 0) continue;
      const bool tied = segment.name == "embedding";
      // A tied embedding's second use happens on the last stage.
      const int place = tied && layout_.p(rank_) > 0 ? 1 : use;
      Tensor whole = toy_gradient(segment.name, segment.global_shape, step, micro_batch, place);
      if (!tied && is_split(segment)) whole = my_share(segment, whole, step, micro_batch);
      view_of(local, segment.local_box).copy_(view_of(whole, segment.global_box));
    }
    return local;
  }

 private:
  // Partial over tensor ranks, whatever a mutant says to the optimizer.
  bool is_split(const Segment& segment) const {
    if (layout_.tp == 1) return false;
    if (mutant_ == ToyMutant::kReplicatedCountedTwice && segment.name.ends_with(".k")) return false;
    return segment.name.ends_with("norm") || segment.name.ends_with(".k") || segment.name.ends_with(".v") ||
           segment.name.ends_with(".k_bias") || segment.name.ends_with(".v_bias");
  }

  // Shares of a partial gradient that add up to the whole, none of which is a plain fraction.
  Tensor my_share(const Segment& segment, const Tensor& whole, int64_t step, int64_t micro_batch) const {
    const Tensor others = toy_gradient(segment.name + "/share", segment.global_shape, step, micro_batch, 0);
    const int t = layout_.t(rank_);
    return t == layout_.tp - 1 ? whole - others * (layout_.tp - 1) : others;
  }

  void add_embedding() {
    Parameter& p =
        add("embedding", {{.name = "embedding", .shape = {11, 6}, .shard = ShardRule::kVocab, .decay = true}},
            {{}}, /*partial=*/false);
    if (layout_.pp == 1) {
      p.uses = 2;
      return;
    }
    Segment& segment = p.segments[0];
    const int t = layout_.t(rank_), d = layout_.d(rank_);
    segment.replicas = {layout_.rank(t, d, 0), layout_.rank(t, d, layout_.pp - 1)};
    if (mutant_ != ToyMutant::kTiedNotSummed) segment.gradient = GradientKind::kPartial;
  }

  void add_layer(const std::string& at) {
    add(at + "norm", {{.name = at + "norm", .shape = {6}}}, {{}}, /*partial=*/true);
    add(at + "qkv",
        {{.name = at + "q", .shape = {8, 6}, .shard = ShardRule::kColumn, .decay = true},
         {.name = at + "k", .shape = {2, 6}, .shard = ShardRule::kColumn, .decay = true},
         {.name = at + "v", .shape = {2, 6}, .shard = ShardRule::kColumn, .decay = true}},
        {{.unit = 2}, {.unit = 2}, {.unit = 2}}, /*partial=*/true);
    add(at + "qkv_bias",
        {{.name = at + "q_bias", .shape = {8}, .shard = ShardRule::kColumn},
         {.name = at + "k_bias", .shape = {2}, .shard = ShardRule::kColumn},
         {.name = at + "v_bias", .shape = {2}, .shard = ShardRule::kColumn}},
        {{.unit = 2}, {.unit = 2}, {.unit = 2}}, /*partial=*/true);
    add(at + "out", {{.name = at + "out", .shape = {6, 8}, .shard = ShardRule::kRow, .decay = true}}, {{}},
        false);
    add(at + "out_bias", {{.name = at + "out_bias", .shape = {6}}}, {{}}, false);
    add(at + "up", {{.name = at + "up", .shape = {74, 13}, .shard = ShardRule::kColumn, .decay = true}}, {{}},
        false);
  }

  // `partial`: replicated segments get partial gradients.
  Parameter& add(const std::string& name, std::vector<LogicalTensor> parts,
                 const std::vector<SegmentOptions>& options, bool partial) {
    const int t = layout_.t(rank_);
    const FusedParameter fused{name, std::move(parts)};
    const LocalLayout local = local_layout(fused, {t, layout_.tp}, options);
    auto p = std::make_unique<Parameter>();
    p->name = name;
    p->data = at::zeros(local.shape, at::TensorOptions(dtype_));
    for (size_t i = 0; i < local.segments.size(); ++i) {
      const LocalSegment& s = local.segments[i];
      Segment segment{.name = s.name,
                      .global_shape = s.global_shape,
                      .global_box = s.global_box,
                      .local_box = s.local_box};
      segment.decay = fused.parts[i].decay;
      const bool alone = mutant_ == ToyMutant::kReplicatedCountedTwice && s.name.ends_with(".k");
      segment.replicas.clear();
      for (int r = 0; r < (alone ? 1 : s.replicas); ++r)
        segment.replicas.push_back(
            layout_.rank(t - (alone ? 0 : s.replica) + r, layout_.d(rank_), layout_.p(rank_)));
      const bool summed = partial && !(mutant_ == ToyMutant::kNormNotSummed && s.name.ends_with("norm"));
      if (segment.replicas.size() > 1 && summed) segment.gradient = GradientKind::kPartial;
      const Tensor start = random_tensor(s.global_shape, toy_hash(s.name), at::kDouble);
      view_of(p->data, s.local_box).copy_(view_of(start, s.global_box));
      p->segments.push_back(std::move(segment));
    }
    parameters_.push_back(std::move(p));
    return *parameters_.back();
  }

  ToyLayout layout_;
  int rank_;
  at::ScalarType dtype_;
  ToyMutant mutant_;
  std::vector<std::unique_ptr<Parameter>> parameters_;
};

}  // namespace phalanx::testing
