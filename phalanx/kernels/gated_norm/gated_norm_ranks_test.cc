// The gated norm over ranks that share the channels, against one rank that has them all.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>

#include "phalanx/comm/counting_group.h"
#include "phalanx/comm/local.h"
#include "phalanx/kernels/gated_norm/test_gated_norm.h"

namespace phalanx::kernels {
namespace {

using namespace gated_testing;
using phalanx::testing::fused_error;
using phalanx::testing::relative_error;

struct Result {
  Tensor out;
  std::vector<Tensor> rstd;  // of each rank, [T, n]
  Gradients gradients;
  int64_t all_reduces = 0;  // of all ranks
  int64_t calls = 0;
  int64_t calls_of_apply = 0;
};

Inputs share(const Inputs& in, int64_t first, int64_t channels) {
  const auto cut = [&](const Tensor& t) { return t.narrow(-1, first, channels); };
  return {cut(in.y), cut(in.z), cut(in.weight), cut(in.dout)};
}

// Rank r holds share order[r] of the channels.
Result on_ranks(const Case& c, const Inputs& in, const std::vector<int>& order) {
  const int ranks = static_cast<int>(order.size());
  const int64_t channels = c.channels / ranks;
  std::vector<int> all;
  for (int r = 0; r < ranks; ++r) all.push_back(r);
  const auto counter = std::make_shared<comm::CallCounter>();
  std::vector<Tensor> out(order.size()), rstd(order.size()), dy(order.size()), dz(order.size()),
      dw(order.size());
  std::atomic<int64_t> applied = 0;
  comm::LocalWorld world(ranks, {.deadline = 60});
  comm::run_ranks(world, [&](int rank) {
    comm::CountingGroup group(world.group(rank, "tp", all), counter);
    const auto at = static_cast<size_t>(order[static_cast<size_t>(rank)]);
    GatedNormSpec spec = spec_of(c);
    spec.first_channel = static_cast<int64_t>(at) * channels;
    spec.group = &group;
    const Inputs own = share(in, spec.first_channel, channels);
    const GatedNormForward f = gated_norm_forward(own.y, own.z, own.weight, spec);
    group.barrier();
    const int64_t before = counter->calls(comm::OpKind::kAllReduce);
    EXPECT_TRUE(at::equal(gated_norm_apply(own.y, own.z, f.rstd, own.weight, spec), f.out));
    group.barrier();
    applied += counter->calls(comm::OpKind::kAllReduce) - before;
    group.barrier();
    const Gradients g = backward(own, f.rstd, spec);
    out[at] = f.out;
    rstd[at] = f.rstd;
    dy[at] = g.dy;
    dz[at] = g.dz;
    dw[at] = g.dweight;
  });
  const int64_t reduces = counter->calls(comm::OpKind::kAllReduce);
  return {at::cat(out, 1),
          rstd,
          {at::cat(dy, 1), at::cat(dz, 1), at::cat(dw, 0)},
          reduces,
          counter->calls() - counter->calls(comm::OpKind::kBarrier),
          applied};
}

Result on_one(const Case& c, const Inputs& in) {
  const GatedNormForward f = gated_norm_forward(in.y, in.z, in.weight, spec_of(c));
  return {f.out, {f.rstd}, backward(in, f.rstd, spec_of(c))};
}

struct Layout {
  Case c;
  std::vector<int> order;
  bool spans;
};

std::vector<Layout> layouts() {
  std::vector<Layout> result;
  const std::vector<Layout> shapes = {
      {{7, 48, 48}, {0, 1}, true},        // one group over all
      {{7, 48, 24}, {0, 1, 2, 3}, true},  // two ranks a group
      {{5, 24, 8}, {0, 1}, true},         // the middle group spans, the others do not
      {{5, 36, 18}, {0, 1, 2, 3}, true},  // ranks with a different number of groups
      {{5, 36, 12}, {2, 0, 3, 1}, true},  // shares in another order than ranks
      {{1, 4, 4}, {0, 1, 2, 3}, true},    // a channel a rank
      {{40, 2048, 2048}, {0, 1, 2, 3}, true},
      {{7, 48, 12}, {0, 1, 2, 3}, false},  // a group a rank
      {{7, 48, 12}, {0, 1}, false},        // two groups a rank
      {{7, 48, 24}, {0}, false},
  };
  for (Layout l : shapes) {
    for (const bool first : {false, true}) {
      l.c.norm_before_gate = first;
      result.push_back(l);
    }
  }
  return result;
}

TEST(GatedNormRanks, EqualOneRankAndSpeakOnlyWhereGroupsSpan) {
  for (const Layout& l : layouts()) {
    const Inputs in = inputs(l.c);
    const Result one = on_one(l.c, in);
    const Result many = on_ranks(l.c, in, l.order);
    const std::string name = fmt::format("{} over {}", l.c.name(), l.order.size());
    EXPECT_LE(relative_error(many.out, one.out), 1e-13) << name;
    EXPECT_LE(relative_error(many.gradients.dy, one.gradients.dy), 1e-13) << name;
    EXPECT_LE(relative_error(many.gradients.dz, one.gradients.dz), 1e-13) << name;
    EXPECT_LE(relative_error(many.gradients.dweight, one.gradients.dweight), 1e-13) << name;
    // One sum forward and one backward.
    const auto ranks = static_cast<int64_t>(l.order.size());
    EXPECT_EQ(many.all_reduces, l.spans ? 2 * ranks : 0) << name;
    EXPECT_EQ(many.calls, many.all_reduces) << name;
    EXPECT_EQ(many.calls_of_apply, 0) << name;
    // Each rank has the statistics of the groups it touches.
    const int64_t channels = l.c.channels / ranks;
    for (int64_t r = 0; r < ranks; ++r) {
      const int64_t first = r * channels / l.c.group_size;
      const int64_t last = ((r + 1) * channels - 1) / l.c.group_size;
      EXPECT_LE(
          relative_error(many.rstd[static_cast<size_t>(r)], one.rstd[0].narrow(1, first, last - first + 1)),
          1e-14)
          << name;
    }
  }
}

TEST(GatedNormRanks, FloatAndHalfAreAsCloseAsOneRank) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const Layout& l : layouts()) {
      const Inputs in = inputs(l.c).to(dtype);
      const Result one = on_one(l.c, in);
      const Result many = on_ranks(l.c, in, l.order);
      const Result exact = on_one(l.c, in.to(at::kDouble));
      EXPECT_EQ(fused_error(many.out, one.out, exact.out), "") << l.c.name();
      EXPECT_EQ(fused_error(many.gradients.dy, one.gradients.dy, exact.gradients.dy), "") << l.c.name();
      EXPECT_EQ(fused_error(many.gradients.dz, one.gradients.dz, exact.gradients.dz), "") << l.c.name();
      EXPECT_EQ(fused_error(many.gradients.dweight, one.gradients.dweight, exact.gradients.dweight), "")
          << l.c.name();
    }
  }
}

// Ranks that start with different rows would wait for each other; ranks with unequal shares would not even agree.
TEST(GatedNormRanksDeathTest, SharesAreEqual) {
  const Tensor y = at::zeros({3, 8});
  const auto group = comm::make_self_group("tp");
  const GatedNormSpec spec{.group_size = 12, .channels_global = 12, .first_channel = 4, .group = group.get()};
  EXPECT_DEATH(gated_norm_forward(y, y, at::zeros({8}), spec), "8 channels from 4 of 12 on each of 1 ranks");
}

}  // namespace
}  // namespace phalanx::kernels
