// The layout grid (DESIGN 7.2): the same run under every layout, ranks as threads, against one rank over five steps. A
// cell that the rules refuse is not coverage. The mistakes that it must catch are those of layout_mutants_test.
#include <gtest/gtest.h>

#include <cstdio>

#include "tests/layout_setting.h"
#include "tests/legal_cover.h"

namespace phalanx {
namespace {

using testing::Cell;
using testing::Setting;

testing::LegalCover cover() {
  return testing::legal_cover(testing::layout_axes(), {0, 1, 2}, testing::is_legal);
}

void expect_same_run(const Setting& s, testing::References& references) {
  EXPECT_EQ(testing::difference(s, testing::run(s), references.of(s)), "") << testing::describe(s);
}

// The whole of it is slow; these are spread over it.
TEST(LayoutGrid, ASampleOfTheLayouts) {
  const testing::LegalCover all = cover();
  testing::References references;
  int compared = 0;
  for (size_t i = 0; i < all.cells.size(); i += 8, ++compared) {
    expect_same_run(testing::setting_of(all.cells[i]), references);
  }
  std::printf("layout grid: a sample of %d of %zu cells\n", compared, all.cells.size());
  EXPECT_GE(compared, 5);
}

TEST(LayoutGridSlow, EveryLayoutIsTheSameRun) {
  const testing::LegalCover all = cover();
  testing::References references;
  size_t compared = 0;
  for (const Cell& cell : all.cells) {
    expect_same_run(testing::setting_of(cell), references);
    ++compared;
  }
  std::printf(
      "layout grid: %zu cells over %zu axes; pairs: %zu wanted, %zu of them illegal, the rest covered; triples of "
      "tp x pp x recompute: %zu wanted, %zu illegal\n",
      compared, testing::layout_axes().size(), all.pairs_wanted, all.pairs_illegal, all.triples_wanted,
      all.triples_illegal);
  // One stage has no bars, chunks, pieces to scatter or schedule of several chunks; sequence parallelism is of a tensor
  // group and ZeRO of a data group; a schedule has its number of chunks; a window needs recomputation, shared inputs full
  // recomputation of whole streams on several tensor ranks.
  EXPECT_EQ(all.pairs_illegal, 20U);
  EXPECT_EQ(all.triples_illegal, 0U);
  EXPECT_GE(compared, 54U);
}

}  // namespace
}  // namespace phalanx
