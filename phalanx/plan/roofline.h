// File: phalanx/plan/roofline.h
//
// Purpose: seconds of one matrix product and of one pass over memory on an accelerator.
// Equation: a product of batch x [m, k] x [k, n] in 16-bit takes the longer of
//     2 batch m n k / (matmul_efficiency peak u)         u = share of the last wave of 128 x 128 tiles that is in use
//     2 batch (m k + k n + m n) / (memory_efficiency memory_bandwidth)
//   A unit works on one tile at a time, so u = (m n / 128^2) / (units ceil(tiles / units)); a ragged tile costs a whole
//   one. This is what makes narrow shards of tensor parallelism and small micro-batches slow.
// Contract: pure; sizes of at least 1.
// Source: Williams, Waterman, Patterson 2009 (roofline); Narayanan et al. 2021, section 2.3 and takeaway 1.
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
