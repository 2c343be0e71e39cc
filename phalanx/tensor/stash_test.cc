// Stashes that keep all, that move to the host, and what a stash says about its contents. The basics are in tensor_test.cc.
#include "phalanx/tensor/stash.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "phalanx/tensor/gradient_check.h"

namespace phalanx {
namespace {

using testing::random_tensor;

TEST(Stash, OnlyAskedForKeepsAll) {
  EXPECT_FALSE(Stash().keeps_all());
  EXPECT_FALSE(Stash::null().keeps_all());
  EXPECT_TRUE(Stash({.keep_all = true}).keeps_all());
}

TEST(OffloadedStash, BringsBackTheSameBitsShapesAndStrides) {
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat, at::kBFloat16, at::kBool, at::kLong}) {
    Stash stash({.offload = true});
    const Tensor whole = at::arange(60, at::TensorOptions(at::kLong)).to(dtype).view({5, 12});
    const Tensor view = whole.narrow(1, 3, 4).transpose(0, 1);
    stash.push(whole.clone(), "whole");
    stash.push(view, "view");
    stash.push(Tensor(), "nothing");
    EXPECT_FALSE(stash.pop().defined());
    const Tensor got = stash.pop();
    EXPECT_EQ(got.scalar_type(), dtype);
    EXPECT_EQ(got.strides(), view.strides());
    EXPECT_TRUE(got.equal(view));
    EXPECT_TRUE(stash.pop().equal(whole));
    EXPECT_EQ(stash.bytes(), 0);
    EXPECT_EQ(stash.host_bytes(), 0);
  }
}

// The stash holds a copy: the tensor itself is free to go, and to change.
TEST(OffloadedStash, HoldsNoDeviceMemory) {
  Stash stash({.offload = true});
  Tensor x = random_tensor({8, 4}, 1);
  const Tensor before = x.clone();
  stash.push(x, "x");
  EXPECT_EQ(x.storage().use_count(), 1);
  EXPECT_EQ(stash.bytes(), 0);
  EXPECT_EQ(stash.host_bytes(), 8 * 4 * 8);
  x.zero_();
  x = Tensor();
  EXPECT_TRUE(stash.pop().equal(before));
  EXPECT_EQ(stash.peak_bytes(), 8 * 4 * 8) << "back for a moment";
}

// Allocators hand a freed address out again; the second tensor must not be taken for the first.
TEST(OffloadedStash, ANewTensorAtAnOldAddressIsNotTheOldOne) {
  Stash stash({.offload = true});
  std::vector<Tensor> want;
  for (int i = 0; i < 50; ++i) {
    want.push_back(at::full({64}, i, at::TensorOptions(at::kDouble)));
    stash.push(want.back().clone(), "x");
  }
  EXPECT_EQ(stash.host_bytes(), 50 * 64 * 8);
  for (int i = 49; i >= 0; --i) EXPECT_TRUE(stash.pop().equal(want[static_cast<size_t>(i)])) << i;
}

TEST(OffloadedStash, AStorageMovesOnceAndComesBackOnce) {
  Stash stash({.offload = true});
  const Tensor x = random_tensor({6, 4}, 2);
  stash.push(x, "input");
  stash.push_rebuild(
      {x.narrow(0, 0, 2), Tensor()}, [](const std::vector<Tensor>& s) { return s[0] + 1.0; }, "sum");
  stash.push(x.narrow(0, 4, 2), "part");
  EXPECT_EQ(stash.host_bytes(), 6 * 4 * 8);
  EXPECT_TRUE(stash.pop().equal(x.narrow(0, 4, 2)));
  EXPECT_EQ(stash.host_bytes(), 0);
  EXPECT_EQ(stash.bytes(), 6 * 4 * 8) << "back, and still needed";
  EXPECT_TRUE(stash.pop().equal(x.narrow(0, 0, 2) + 1.0));
  EXPECT_TRUE(stash.pop().equal(x));
  EXPECT_EQ(stash.bytes(), 0);
  EXPECT_EQ(stash.peak_bytes(), 6 * 4 * 8);
}

TEST(Stash, ItemsSayWhoseBytesTheyAre) {
  for (const bool offload : {false, true}) {
    Stash stash({.offload = offload});
    stash.push(random_tensor({1}, 1), "ends");
    stash.enter_layer(3);
    stash.push(random_tensor({2}, 1), "input");
    stash.push(random_tensor({3}, 1), "input");
    stash.enter_layer(4);
    stash.push(random_tensor({4}, 1), "input");
    std::vector<std::string> lines;
    for (const StashItem& item : stash.items())
      lines.push_back(std::to_string(item.layer) + " " + item.label + " " + std::to_string(item.bytes));
    EXPECT_THAT(lines, ::testing::ElementsAre("-1 ends 8", "3 input 40", "4 input 32"));
  }
}

}  // namespace
}  // namespace phalanx
