#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "phalanx/tensor/cache.h"
#include "phalanx/tensor/gradient_check.h"
#include "phalanx/tensor/large_tensor.h"
#include "phalanx/tensor/side.h"
#include "phalanx/tensor/stash.h"
#include "phalanx/tensor/weight_grads.h"

namespace phalanx {
namespace {

using testing::random_tensor;

TEST(Stash, PopsInReverseAndCountsEachStorageOnce) {
  Stash stash;
  const Tensor a = random_tensor({4, 8}, 1);
  const Tensor b = random_tensor({2, 8}, 2);
  stash.push(a, "a");
  stash.push(a.narrow(0, 1, 2), "part of a");
  stash.push(b, "b");
  EXPECT_EQ(stash.bytes(), static_cast<int64_t>(a.nbytes() + b.nbytes()));
  EXPECT_EQ(stash.bytes_by_label().at("a"), static_cast<int64_t>(a.nbytes()));
  EXPECT_TRUE(at::equal(stash.pop(), b));
  EXPECT_TRUE(at::equal(stash.pop(), a.narrow(0, 1, 2)));
  EXPECT_EQ(stash.bytes(), static_cast<int64_t>(a.nbytes()));
  EXPECT_TRUE(at::equal(stash.pop(), a));
  EXPECT_EQ(stash.bytes(), 0);
  EXPECT_EQ(stash.peak_bytes(), static_cast<int64_t>(a.nbytes() + b.nbytes()));
}

TEST(Stash, RebuildsFromSourcesAndCountsOnlyThem) {
  Stash stash;
  const Tensor x = random_tensor({4, 8}, 1);
  stash.push(x, "x");
  stash.push_rebuild(
      {x}, [](const std::vector<Tensor>& sources) { return sources[0] * 2; }, "twice x");
  EXPECT_EQ(stash.bytes(), static_cast<int64_t>(x.nbytes()));
  EXPECT_TRUE(at::equal(stash.pop(), x * 2));
}

TEST(Stash, NullDropsPushes) {
  Stash stash = Stash::null();
  stash.push(random_tensor({4}, 1), "x");
  EXPECT_TRUE(stash.empty());
  EXPECT_EQ(stash.bytes(), 0);
}

TEST(StashDeathTest, PopFromEmptyAborts) {
  Stash stash;
  EXPECT_DEATH(stash.pop(), "empty stash");
}

#ifdef PHALANX_DEBUG
TEST(StashDeathTest, ChangedTensorIsNamed) {
  Stash stash;
  Tensor x = random_tensor({4}, 1);
  stash.push(x, "the input");
  x.add_(1);
  EXPECT_DEATH(stash.pop(), "the input");
}
#endif

Parameter make_test_parameter() {
  Parameter p;
  p.name = "w";
  p.data = at::zeros({3}, at::kDouble);
  p.main_grad = at::full({3}, 99.0, at::kDouble);  // stale: the first contribution must overwrite
  return p;
}

TEST(WeightGrads, FirstContributionOverwritesLaterOnesAdd) {
  Parameter p = make_test_parameter();
  int uses = 0;
  WeightGrads grads;
  grads.on_applied = [&uses](Parameter&) { ++uses; };
  grads.add(p, at::ones({3}, at::kDouble));
  EXPECT_EQ(p.main_grad.sum().item<double>(), 3.0);
  grads.defer(p, 0, [](GradSlot slot) { slot.main_grad.mul_(slot.beta).add_(2.0); });
  EXPECT_EQ(p.main_grad.sum().item<double>(), 9.0);
  EXPECT_EQ(uses, 2);
}

TEST(WeightGrads, DeferredRunInOrderAndAreCounted) {
  Parameter p = make_test_parameter();
  WeightGrads grads(WeightGrads::Mode::kDefer);
  grads.defer(p, 100, [](GradSlot slot) {
    EXPECT_EQ(slot.beta, 0.0);
    slot.main_grad.fill_(1.0);
  });
  grads.defer(p, 50, [](GradSlot slot) {
    EXPECT_EQ(slot.beta, 1.0);
    slot.main_grad.add_(1.0);
  });
  EXPECT_EQ(grads.deferred_bytes(), 150);
  EXPECT_FALSE(p.has_grad);
  grads.run_deferred();
  EXPECT_EQ(grads.deferred_bytes(), 0);
  EXPECT_EQ(p.main_grad.sum().item<double>(), 6.0);
}

TEST(WeightGrads, FrozenParametersGetNothing) {
  Parameter p = make_test_parameter();
  p.trainable = false;
  WeightGrads grads;
  grads.add(p, at::ones({3}, at::kDouble));
  EXPECT_FALSE(p.has_grad);
  EXPECT_EQ(p.main_grad[0].item<double>(), 99.0);
}

TEST(Side, GradientsOfAllReadersSumUp) {
  Side side;
  side.inputs["image"].value = at::ones({2});
  side.add_grad("image", at::ones({2}));
  side.add_grad("image", at::ones({2}));
  EXPECT_EQ(side.inputs["image"].grad.sum().item<double>(), 4.0);
}

class CacheTest : public ::testing::Test {
 protected:
  static constexpr int64_t kPage = 4;
  Cache cache_{{{2, 3}, {1, 5}}, kPage, at::TensorOptions(at::kDouble)};
  Tensor rows(int64_t n, uint64_t seed, int64_t groups = 2, int64_t dim = 3) {
    return random_tensor({n, groups, dim}, seed);
  }
};

TEST_F(CacheTest, ReadsBackWhatWasAppendedAcrossPages) {
  const int64_t slot = cache_.new_slot();
  const Tensor k = rows(11, 1), v = rows(11, 2);
  cache_.append(0, slot, k.narrow(0, 0, 3), v.narrow(0, 0, 3));
  cache_.append(0, slot, k.narrow(0, 3, 7), v.narrow(0, 3, 7));
  cache_.append(0, slot, k.narrow(0, 10, 1), v.narrow(0, 10, 1));
  const auto [got_k, got_v] = cache_.read(0, slot);
  EXPECT_TRUE(at::equal(got_k, k));
  EXPECT_TRUE(at::equal(got_v, v));
  EXPECT_EQ(cache_.length(0, slot), 11);
  EXPECT_EQ(cache_.length(1, slot), 0);
}

TEST_F(CacheTest, CopiedSlotSharesFullPagesAndGoesItsOwnWay) {
  const int64_t slot = cache_.new_slot();
  const Tensor k = rows(6, 1);
  cache_.append(0, slot, k, k);
  const int64_t before = cache_.bytes_in_use();
  const int64_t copy = cache_.copy_slot(slot);
  EXPECT_EQ(cache_.bytes_in_use() - before, kPage * 2 * 2 * 3 * 8)
      << "only the last, partly filled page is copied";
  const Tensor more = rows(3, 7), other = rows(3, 8);
  cache_.append(0, slot, more, more);
  cache_.append(0, copy, other, other);
  EXPECT_TRUE(at::equal(cache_.read(0, slot).first, at::cat({k, more})));
  EXPECT_TRUE(at::equal(cache_.read(0, copy).first, at::cat({k, other})));
  cache_.free_slot(slot);
  EXPECT_TRUE(at::equal(cache_.read(0, copy).first, at::cat({k, other})))
      << "shared pages outlive the first slot";
  cache_.free_slot(copy);
  EXPECT_EQ(cache_.bytes_in_use(), 0);
}

TEST(LargeTensor, ZerosThatOutliveTheirName) {
  constexpr uintptr_t kHugePage = uintptr_t{2} << 20;
  for (const int64_t numel : {0, 3, 3, 1 << 20, 1 << 20}) {  // zeros also where memory is handed out again
    Tensor view;
    {
      const Tensor all = large_zeros(numel, at::TensorOptions(at::kFloat));
      EXPECT_EQ(all.sizes(), at::IntArrayRef({numel}));
      if (numel == 1 << 20) {
        EXPECT_EQ(reinterpret_cast<uintptr_t>(all.data_ptr()) % kHugePage, 0u);
      }
      view = all.narrow(0, numel / 2, numel - numel / 2);
    }
    EXPECT_EQ(view.sum().item<float>(), 0);
    view.fill_(1);
    EXPECT_EQ(view.sum().item<float>(), static_cast<float>(numel - numel / 2));
  }
}

TEST(GradientCheck, FindsAWrongGradient) {
  const Tensor x = random_tensor({5}, 1);
  const auto f = [](const std::vector<Tensor>& in) { return std::vector<Tensor>{in[0] * in[0]}; };
  const Tensor dy = random_tensor({5}, 2);
  const Tensor grad = testing::autograd_gradients(f, {x}, {dy})[0];
  EXPECT_LT(testing::relative_error(2 * x * dy, grad), 1e-14);
  EXPECT_GT(testing::relative_error(x * dy, grad), 0.1);
  EXPECT_EQ(testing::fused_error(x.to(at::kFloat), x.to(at::kFloat), x), "");
  EXPECT_NE(testing::fused_error(x.to(at::kFloat) * 1.001, x.to(at::kFloat), x), "");
}

}  // namespace
}  // namespace phalanx
