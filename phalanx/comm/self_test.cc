// A group of one moves and allocates nothing. Both are counted: memory by replacing operator new of this program and
// LibTorch's allocator, copies by looking at the bytes and where they lie.
#include <ATen/ATen.h>
#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "phalanx/comm/group.h"
#include "phalanx/comm/local.h"
#include "phalanx/tensor/gradient_check.h"

namespace {

// The replaced functions below are found by name alone: there is no object that could hold the count.
struct Count {
  mutable std::atomic<int64_t> news{0};
};
const Count kCount;

}  // namespace

void* operator new(std::size_t size) {
  kCount.news.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

namespace phalanx::comm {
namespace {

class CountingAllocator : public c10::Allocator {
 public:
  explicit CountingAllocator(c10::Allocator* inner) : inner_(inner) {}
  c10::DataPtr allocate(size_t bytes) override {
    ++calls;
    return inner_->allocate(bytes);
  }
  c10::DeleterFnPtr raw_deleter() const override { return inner_->raw_deleter(); }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    inner_->copy_data(to, from, bytes);
  }
  std::atomic<int64_t> calls = 0;

 private:
  c10::Allocator* inner_;
};

// How often `body` asks for memory: operator new, and LibTorch for a tensor.
std::pair<int64_t, int64_t> allocations(const std::function<void()>& body) {
  c10::Allocator* before = c10::GetCPUAllocator();
  CountingAllocator counting(before);
  c10::SetCPUAllocator(&counting);
  const int64_t news = kCount.news;
  body();
  const int64_t made = kCount.news - news;
  c10::SetCPUAllocator(before);
  return {made, counting.calls};
}

TEST(SelfGroup, CountersCount) {
  Tensor kept;
  const auto [news, tensors] = allocations([&] { kept = at::zeros({3}); });
  EXPECT_GT(news, 0);
  EXPECT_EQ(tensors, 1);
}

TEST(SelfGroup, AllocatesAndCopiesNothing) {
  LocalWorld world(1);
  for (const bool of_world : {false, true}) {
    const std::unique_ptr<Group> group =
        of_world ? world.group(0, "tp", {0}) : make_self_group("tp", /*world_rank=*/3);
    EXPECT_EQ(group->rank(), 0);
    EXPECT_EQ(group->size(), 1);
    EXPECT_EQ(group->name(), "tp");
    EXPECT_EQ(group->ranks(), std::vector<int>{of_world ? 0 : 3});
    Tensor x = testing::random_tensor({5, 2}, 1);
    const Tensor before = x.clone();
    const void* data = x.data_ptr();
    const auto [news, tensors] = allocations([&] {
      group->all_reduce(x, ReduceOp::kSum);
      group->all_reduce(x, ReduceOp::kMax);
      group->broadcast(x, 0);
      group->all_gather(x, x);
      group->reduce_scatter(x, x);
      group->all_to_all(x, x);
      group->barrier();
      const WorkPtr work = group->start_all_reduce(x, ReduceOp::kSum);
      if (work->done()) work->wait();
    });
    EXPECT_EQ(news, 0);
    EXPECT_EQ(tensors, 0);
    EXPECT_TRUE(at::equal(x, before));
    EXPECT_EQ(x.data_ptr(), data);
  }
}

TEST(SelfGroup, CopiesBetweenDifferentTensors) {
  const auto group = make_self_group("tp");
  const Tensor in = testing::random_tensor({5, 2}, 1);
  const auto check = [&](const std::function<void(Tensor & out)>& call) {
    Tensor out = at::zeros_like(in);
    call(out);
    EXPECT_TRUE(at::equal(out, in));
  };
  check([&](Tensor& out) { group->all_gather(out, in); });
  check([&](Tensor& out) { group->reduce_scatter(out, in); });
  check([&](Tensor& out) { group->all_to_all(out, in, {5}, {5}); });
}

TEST(SelfGroupDeathTest, HasNobodyToTalkTo) {
  const auto group = make_self_group("pp");
  Tensor x = at::zeros({2});
  EXPECT_DEATH(group->send(x, 0), "a group of one has nobody to talk to: pp");
}

}  // namespace
}  // namespace phalanx::comm
