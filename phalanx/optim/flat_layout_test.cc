// Flat layouts and the boxes in them, for every range of small shapes.
#include "phalanx/optim/flat_layout.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "phalanx/optim/segment_parts.h"
#include "phalanx/optim/test_toy_layout.h"

namespace phalanx {
namespace {

using testing::ToyLayout;
using testing::ToyRank;

// A group that only knows who is in it.
class Members : public comm::Group {
 public:
  Members(std::vector<int> ranks, int world_rank) : ranks_(std::move(ranks)) {
    rank_ = static_cast<int>(std::find(ranks_.begin(), ranks_.end(), world_rank) - ranks_.begin());
  }
  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(ranks_.size()); }
  const std::string& name() const override { return name_; }
  const std::vector<int>& ranks() const override { return ranks_; }
  comm::WorkPtr start_all_reduce(Tensor, comm::ReduceOp) override { return nullptr; }
  comm::WorkPtr start_all_gather(Tensor, Tensor) override { return nullptr; }
  comm::WorkPtr start_reduce_scatter(Tensor, Tensor) override { return nullptr; }
  comm::WorkPtr start_all_to_all(Tensor, Tensor, std::vector<int64_t>, std::vector<int64_t>) override {
    return nullptr;
  }
  comm::WorkPtr start_broadcast(Tensor, int) override { return nullptr; }
  comm::WorkPtr start_send(Tensor, int) override { return nullptr; }
  comm::WorkPtr start_recv(Tensor, int) override { return nullptr; }
  void barrier() override {}

 private:
  std::string name_ = "members";
  std::vector<int> ranks_;
  int rank_ = 0;
};

Tensor flat_mask(const FlatLayout& layout) {
  return at::zeros({layout.size}, at::kInt);
}

TEST(FlatLayout, EverySlotLiesInItsBucketAndShardsTileIt) {
  for (const int dp : {2, 3}) {
    for (const int64_t limit : {1, 300, 100000}) {
      std::vector<FlatLayout> layouts;
      std::vector<std::unique_ptr<ToyRank>> toys;
      const ToyLayout shape{.tp = 2, .dp = dp, .pp = 1};
      for (int d = 0; d < dp; ++d) {
        const int rank = shape.rank(1, d, 0);
        Members data(shape.data_ranks(rank), rank);
        toys.push_back(std::make_unique<ToyRank>(shape, rank, at::kFloat));
        layouts.push_back(make_flat_layout(toys.back()->parameters(),
                                           {.data = &data, .zero_stage = 1, .bucket_elements = limit}));
      }
      const FlatLayout& first = layouts[0];
      EXPECT_EQ(first.buckets.size() == 2, limit == 100000);
      int64_t end = 0, state = 0;
      for (size_t b = 0; b < first.buckets.size(); ++b) {
        EXPECT_EQ(first.buckets[b].all.begin, end);
        end = first.buckets[b].all.end;
        EXPECT_EQ(first.buckets[b].state_begin, state);
        state += first.buckets[b].shard.size();
        int64_t shard_end = first.buckets[b].all.begin;
        for (const FlatLayout& layout : layouts) {
          EXPECT_EQ(layout.buckets[b].all, first.buckets[b].all);
          EXPECT_EQ(layout.buckets[b].shard.begin, shard_end);
          EXPECT_EQ(layout.buckets[b].shard.size() % kFlatAlignment, 0);
          shard_end = layout.buckets[b].shard.end;
        }
        EXPECT_EQ(shard_end, end);
      }
      EXPECT_EQ(end, first.size);
      EXPECT_EQ(state, first.state_size);
      bool seen_partial = false;
      for (const FlatBucket& bucket : first.buckets) {
        EXPECT_TRUE(bucket.has_partial || !seen_partial) << "what waits for replicas comes last";
        seen_partial = bucket.has_partial;
      }
      for (const FlatSlot& slot : first.slots) {
        const FlatBucket& bucket = first.buckets[slot.bucket];
        EXPECT_EQ(overlap(slot.range(), bucket.all), slot.range());
        EXPECT_EQ(bucket.has_partial, has_partial_segment(*slot.parameter)) << slot.parameter->name;
        EXPECT_EQ(slot.parameter->segments[0].decay, slot.offset < bucket.decay_end);
      }
    }
  }
}

// The norm counts each logical element once over all ranks of a data replica, and nothing else but padding.
TEST(FlatLayout, EveryLogicalElementIsCountedOnce) {
  for (const int tp : {1, 2}) {
    for (const int pp : {1, 2}) {
      for (const int64_t zero : {0, 1}) {
        const ToyLayout shape{.tp = tp, .dp = 2, .pp = pp};
        std::map<std::string, Tensor> counts;
        for (int rank = 0; rank < shape.world(); ++rank) {
          // Without ZeRO-1 every data rank counts everything.
          if (zero == 0 && shape.d(rank) != 0) continue;
          Members data(shape.data_ranks(rank), rank), model(shape.model_ranks(rank), rank);
          ToyRank toy(shape, rank, at::kFloat);
          const FlatLayout layout = make_flat_layout(
              toy.parameters(), {.data = &data, .model = &model, .zero_stage = zero, .bucket_elements = 400});
          const Tensor mask = flat_mask(layout);
          for (const FlatBucket& bucket : layout.buckets) {
            for (const FlatRange& range : bucket.counted) mask.narrow(0, range.begin, range.size()).add_(1);
          }
          EXPECT_LE(mask.max().item<int>(), 1);
          for (const FlatSlot& slot : layout.slots) {
            const Tensor local =
                mask.narrow(0, slot.offset, slot.parameter->data.numel()).view(slot.parameter->data.sizes());
            for (const Segment& s : slot.parameter->segments) {
              auto [count, added] = counts.emplace(s.name, Tensor());
              if (added) count->second = at::zeros(s.global_shape, at::kInt);
              view_of(count->second, s.global_box).add_(view_of(local, s.local_box));
            }
          }
        }
        EXPECT_EQ(counts.size(), 2u + 2 * 10);
        for (const auto& [name, count] : counts)
          EXPECT_TRUE(count.eq(1).all().item<bool>())
              << name << " tp " << tp << " pp " << pp << " zero " << zero;
      }
    }
  }
}

// A parameter of shape `local` with one segment in the middle of it, inside a larger logical tensor, and one below.
Parameter two_segments(const Shape& local, const Box& first, const Box& second) {
  Parameter p;
  p.name = "p";
  p.data = at::arange(num_elements(local), at::kDouble).view(local);
  for (const Box& box : {first, second}) {
    Segment segment;
    segment.name = "s" + std::to_string(p.segments.size());
    segment.local_box = box;
    segment.global_box = box;
    for (size_t d = 0; d < local.size(); ++d) {
      segment.global_box.begin[d] += static_cast<int64_t>(d) + 2;
      segment.global_box.end[d] += static_cast<int64_t>(d) + 2;
      segment.global_shape.push_back(local[d] + 7);
    }
    p.segments.push_back(segment);
  }
  return p;
}

TEST(SegmentParts, EveryRangeOfSmallShapesCoversItsElementsOnce) {
  const std::vector<Parameter> parameters = {
      two_segments({7}, {{1}, {4}}, {{4}, {6}}),
      two_segments({5, 3}, {{0, 0}, {2, 3}}, {{2, 0}, {4, 3}}),
      two_segments({4, 5}, {{0, 1}, {4, 3}}, {{1, 3}, {4, 5}}),
      two_segments({3, 2, 4}, {{0, 0, 0}, {1, 2, 4}}, {{1, 0, 1}, {3, 2, 3}}),
  };
  int64_t ranges = 0;
  for (const Parameter& p : parameters) {
    const int64_t n = p.data.numel();
    for (int64_t begin = 0; begin <= n; ++begin) {
      for (int64_t end = begin; end <= n; ++end) {
        ++ranges;
        // The flat elements [begin, end), as a shard holds them: twice the value, to tell them from the parameter's own.
        const Tensor held = p.data.reshape({n}).narrow(0, begin, end - begin) * 2;
        std::vector<Tensor> seen;
        for (const Segment& s : p.segments) seen.push_back(at::full(s.global_shape, -1.0, at::kDouble));
        int64_t covered = 0;
        for (const SegmentPart& part : segment_parts(p, {begin, end})) {
          const Tensor values = part.view(held, begin);
          const Tensor target =
              view_of(seen[static_cast<size_t>(part.segment - p.segments.data())], part.global_box);
          ASSERT_EQ(values.sizes(), target.sizes());
          ASSERT_TRUE(target.eq(-1).all().item<bool>()) << "covered twice";
          target.copy_(values);
          covered += values.numel();
        }
        const Tensor in_range = p.data.ge(static_cast<double>(begin)) * p.data.lt(static_cast<double>(end));
        int64_t expected = 0;
        for (size_t i = 0; i < p.segments.size(); ++i) {
          const Segment& s = p.segments[i];
          const Tensor mask = view_of(in_range, s.local_box);
          const Tensor want = at::where(mask, view_of(p.data, s.local_box) * 2, -1.0);
          ASSERT_TRUE(at::equal(view_of(seen[i], s.global_box), want));
          expected += mask.sum().item<int64_t>();
        }
        ASSERT_EQ(covered, expected);
      }
    }
  }
  EXPECT_EQ(ranges, 36 + 136 + 231 + 325);
}

}  // namespace
}  // namespace phalanx
