// File: phalanx/plan/roofline.h
//
// Purpose: seconds of one matrix product and of one pass over memory on an accelerator.
// Equation: a product of batch x [m, k] x [k, n] in 16-bit takes the longer of
//     2 batch m n k / (matmul_efficiency peak u)         u = share of the tiles of all waves that holds results
//     2 batch (m k + k n + m n) / (memory_efficiency memory_bandwidth)
//   Tiles are 256 x 128, laid along m or n, whichever wastes less; a unit works on one at a time, so that
//   u = m n batch / (256 x 128 units ceil(tiles / units)). A ragged tile costs a whole one. This is what makes narrow shards
//   of tensor parallelism and small micro-batches slow.
// Contract: pure; sizes of at least 1.
// Source: Williams, Waterman, Patterson 2009 (roofline); NVIDIA, Matrix Multiplication Background User's Guide, sections
//   2.3 and 3 (tiles and waves).
// Units: seconds.
#pragma once

#include <cstdint>

#include "phalanx/plan/cluster.h"

namespace phalanx {

struct Product {
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
  int64_t batch = 1;
};

double product_seconds(const Product& product, const Cluster& cluster);
double memory_seconds(double bytes, const Cluster& cluster);

}  // namespace phalanx
