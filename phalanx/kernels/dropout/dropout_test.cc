#include "phalanx/kernels/dropout/dropout.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <limits>

#include "phalanx/kernels/dropout/dropout_ref.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::kernels {
namespace {

using testing::autograd_gradients;
using testing::random_tensor;
using testing::relative_error;

// Every field of the counter takes part: more than 32 bits of step, a large layer, both words of the seed.
const std::vector<RandomKey> kKeys = {
    {.seed = 1, .purpose = RandomPurpose::kHiddenDropout, .step = 0, .layer = 0},
    {.seed = 0xFEDCBA9876543210u,
     .purpose = RandomPurpose::kTest,
     .step = (int64_t{1} << 40) - 3,
     .layer = 65535},
    {.seed = uint64_t{1} << 63,
     .purpose = RandomPurpose::kAttentionDropout,
     .step = int64_t{1} << 33,
     .layer = 300}};

Tensor random_ids(int64_t rows, int64_t limit, uint64_t seed) {
  Tensor ids = at::empty({rows}, at::TensorOptions(at::kLong));
  const RandomKey key{.seed = seed};
  for (int64_t i = 0; i < rows; ++i) {
    const PhiloxBlock words = philox_block(key, static_cast<uint64_t>(i));
    ids[i] = static_cast<int64_t>(((uint64_t{words[0]} << 32) | words[1]) % static_cast<uint64_t>(limit));
  }
  return ids;
}

// Which elements survive, by applying dropout to ones.
Tensor kept(const Tensor& ids, const RandomKey& key, double p, int64_t width, int64_t first,
            int64_t columns) {
  return dropout(at::ones({ids.size(0), columns}), ids, key, p, width, first) != 0;
}

TEST(Dropout, TheReferenceIsPhiloxWordByWord) {
  const Tensor index = random_ids(200, int64_t{1} << 50, 7);
  for (const RandomKey& key : kKeys) {
    for (const double p : {0.1, 0.5, 0.999}) {
      const Tensor mask = dropout_mask_ref(index, key, dropout_threshold(p));
      for (int64_t i = 0; i < index.size(0); ++i) {
        const auto element = static_cast<uint64_t>(index[i].item<int64_t>());
        EXPECT_EQ(mask[i].item<bool>(), philox_u32(key, element) < dropout_threshold(p)) << element;
      }
    }
  }
}

TEST(Dropout, TheBodyIsBitEqualToTheReference) {
  int compared = 0;
  for (const RandomKey& key : kKeys) {
    for (const int64_t width : {1, 2, 3, 4, 7, 33, 64, 129}) {
      const Tensor ids = random_ids(37, (int64_t{1} << 50) / width - 1, static_cast<uint64_t>(width));
      for (const int64_t first : {int64_t{0}, int64_t{1}, width / 2, width - 1}) {
        if (first >= width) continue;
        const int64_t columns = (width - first + 1) / 2;
        const Tensor index = ids.unsqueeze(1) * width + at::arange(first, first + columns, ids.options());
        const Tensor expected = ~dropout_mask_ref(index, key, dropout_threshold(0.3));
        EXPECT_TRUE(at::equal(kept(ids, key, 0.3, width, first, columns), expected)) << width << " " << first;
        EXPECT_TRUE(at::equal(dropout_keep_mask(index, key, 0.3), expected)) << width << " " << first;
        ++compared;
      }
    }
  }
  EXPECT_GE(compared, 3 * 8 * 3);
}

// The smallest threshold that drops an element is its word plus one.
TEST(Dropout, TheThresholdIsExact) {
  for (const int64_t element : {0, 1, 2, 3, 1000003}) {
    const Tensor index = at::full({1}, element, at::TensorOptions(at::kLong));
    const double word = philox_u32(kKeys[1], static_cast<uint64_t>(element));
    for (const double step : {0.0, 1.0}) {
      const double p = (word + step) * 0x1.0p-32;
      const bool keep = step == 0.0;
      EXPECT_EQ(dropout_keep_mask(index, kKeys[1], p).item<bool>(), keep);
      EXPECT_EQ(kept(index, kKeys[1], p, 1, 0, 1).item<bool>(), keep);
      EXPECT_EQ(dropout_mask_ref(index, kKeys[1], dropout_threshold(p)).item<bool>(), !keep);
    }
  }
}

TEST(Dropout, KeepMaskOfIndicesInAnyOrderAndShape) {
  const RandomKey& key = kKeys[1];
  const Tensor index = random_ids(2 * 3 * 5, int64_t{1} << 50, 3).view({2, 3, 5});
  const Tensor sorted = at::arange(0, 30).view({2, 3, 5});
  for (const Tensor& i :
       {index, sorted, sorted.transpose(0, 2), sorted.select(1, 1).unsqueeze(0).expand({4, 2, 5})}) {
    const Tensor mask = dropout_keep_mask(i, key, 0.4);
    EXPECT_EQ(mask.scalar_type(), at::kBool);
    EXPECT_EQ(mask.sizes(), i.sizes());
    EXPECT_TRUE(at::equal(mask, ~dropout_mask_ref(i, key, dropout_threshold(0.4))));
  }
}

TEST(Dropout, AnElementDependsOnlyOnItsTokenAndColumn) {
  const RandomKey& key = kKeys[0];
  const int64_t width = 53;
  const Tensor ids = random_ids(40, 100000, 11);
  const Tensor x = random_tensor({40, width}, 12);
  const Tensor y = dropout(x, ids, key, 0.25, width);
  const Tensor order = at::arange(39, -1, -1) * 7 % 40;  // a permutation
  EXPECT_TRUE(at::equal(dropout(x.index_select(0, order), ids.index_select(0, order), key, 0.25, width),
                        y.index_select(0, order)));
  for (const int64_t split : {1, 6, 32, 52}) {
    const Tensor left = dropout(x.narrow(1, 0, split), ids, key, 0.25, width, 0);
    const Tensor right = dropout(x.narrow(1, split, width - split), ids, key, 0.25, width, split);
    EXPECT_TRUE(at::equal(at::cat({left, right}, 1), y)) << split;
  }
  // Another key, or another width, gives another mask.
  for (RandomKey other :
       {RandomKey{.seed = 2, .purpose = key.purpose}, RandomKey{.seed = 1, .purpose = key.purpose, .step = 1},
        RandomKey{.seed = 1, .purpose = key.purpose, .layer = 1}, RandomKey{.seed = 1}}) {
    EXPECT_FALSE(at::equal(dropout(x, ids, other, 0.25, width), y));
  }
  EXPECT_FALSE(at::equal(dropout(x, ids, key, 0.25, width + 1), y));
}

TEST(Dropout, KeepsItsShareAndScalesTheRest) {
  const Tensor ids = at::arange(500);
  const Tensor x = random_tensor({500, 101}, 5);
  for (const double p : {0.0, 1e-3, 0.1, 0.5, 0.9}) {
    const Tensor y = dropout(x, ids, kKeys[2], p, 101);
    const Tensor survived = y != 0;
    const double share = survived.to(at::kDouble).mean().item<double>();
    EXPECT_NEAR(share, 1.0 - p, 5.0 * std::sqrt(p * (1.0 - p) / static_cast<double>(x.numel()))) << p;
    EXPECT_LE(relative_error(y, at::where(survived, x / (1.0 - p), at::zeros_like(x))), 1e-15);
  }
}

TEST(Dropout, WithoutProbabilityXItself) {
  const Tensor x = random_tensor({3, 4}, 5);
  EXPECT_TRUE(dropout(x, at::arange(3), kKeys[0], 0.0, 4).is_same(x));
  EXPECT_TRUE(dropout_keep_mask(at::arange(9), kKeys[0], 0.0).all().item<bool>());
}

TEST(Dropout, IsItsOwnBackward) {
  for (const int64_t columns : {1, 5, 130}) {
    const Tensor ids = random_ids(9, 1000, 2);
    const Tensor x = random_tensor({9, columns}, 1);
    const Tensor dy = random_tensor({9, columns}, 3);
    const Tensor index = ids.unsqueeze(1) * columns + at::arange(columns);
    const Tensor dropped = dropout_mask_ref(index, kKeys[0], dropout_threshold(0.3));
    const auto reference = [&](const std::vector<Tensor>& v) {
      return std::vector<Tensor>{at::where(dropped, at::zeros_like(v[0]), v[0] / 0.7)};
    };
    EXPECT_LE(relative_error(dropout(x, ids, kKeys[0], 0.3, columns), reference({x})[0]), 1e-10);
    EXPECT_LE(
        relative_error(dropout(dy, ids, kKeys[0], 0.3, columns), autograd_gradients(reference, {x}, {dy})[0]),
        1e-10);
  }
}

TEST(Dropout, EveryDtypeDropsTheSameElements) {
  const Tensor ids = random_ids(20, 1000, 2);
  const Tensor x = random_tensor({20, 45}, 1);
  const Tensor exact = dropout(x, ids, kKeys[0], 0.3, 45);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    const Tensor narrow = x.to(dtype);
    const Tensor y = dropout(narrow, ids, kKeys[0], 0.3, 45);
    EXPECT_EQ(y.scalar_type(), dtype);
    EXPECT_TRUE(at::equal(y == 0, exact == 0));
    const Tensor of_narrow = dropout(narrow.to(at::kDouble), ids, kKeys[0], 0.3, 45);
    const Tensor plain = narrow * at::where(exact == 0, 0.0, 1.0).to(dtype) / 0.7;
    EXPECT_EQ(testing::fused_error(y, plain, of_narrow), "");
  }
}

TEST(Dropout, ADroppedInfinityIsZero) {
  const Tensor x = at::full({64, 8}, std::numeric_limits<double>::infinity());
  const Tensor y = dropout(x, at::arange(64), kKeys[0], 0.5, 8);
  EXPECT_FALSE(y.isnan().any().item<bool>());
  EXPECT_TRUE((y == 0).any().item<bool>());
}

TEST(Dropout, TheMaskDoesNotDependOnTheThreadCount) {
  const int threads = at::get_num_threads();
  const Tensor ids = random_ids(400, 1000, 2);
  at::set_num_threads(1);
  const Tensor one = kept(ids, kKeys[0], 0.3, 131, 0, 131);
  at::set_num_threads(3);
  EXPECT_TRUE(at::equal(kept(ids, kKeys[0], 0.3, 131, 0, 131), one));
  at::set_num_threads(threads);
}

TEST(Dropout, EmptyInputs) {
  EXPECT_EQ(dropout(at::zeros({0, 4}), at::arange(0), kKeys[0], 0.5, 4).numel(), 0);
  EXPECT_EQ(dropout_keep_mask(at::arange(0), kKeys[0], 0.5).numel(), 0);
}

TEST(DropoutDeathTest, WrongArgumentsAreBugs) {
  const Tensor x = at::zeros({3, 4});
  const Tensor ids = at::arange(3);
  EXPECT_DEATH(dropout(x, ids, kKeys[0], 1.0, 4), "p is 1, not in");
  EXPECT_DEATH(dropout(x, ids, kKeys[0], -0.1, 4), "p is -0.1");
  EXPECT_DEATH(dropout(x, at::arange(4), kKeys[0], 0.5, 4), "x has 3 rows, token_id is Long \\[4\\]");
  EXPECT_DEATH(dropout(x, ids.to(at::kInt), kKeys[0], 0.5, 4), "token_id is Int");
  EXPECT_DEATH(dropout(x, ids, kKeys[0], 0.5, 4, 1), "columns 1 to 5 of 4");
  EXPECT_DEATH(dropout_keep_mask(ids.to(at::kInt), kKeys[0], 0.5), "int64");
}

}  // namespace
}  // namespace phalanx::kernels
