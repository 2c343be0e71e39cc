// File: phalanx/kernels/gemm/gemm.h
//
// Purpose: the one matrix product of the system: C = A B + beta C.
// Shapes: a [M, K], b [K, N], c [M, N]; a and b may be transposed views (`w.t()`), c is row-major (last stride 1).
// Dtypes: a and b alike (fp64, fp32, bf16, fp16); c of that dtype, or fp32 when a and b are half: then the sums are
//   fp32 and are never rounded to the half dtype.
// Contract: beta is 0 (c is overwritten, whatever it held) or 1. Which backend serves a shape on the CPU is a table of
//   {M, N, K, layout, dtype} -> route. The default table is fixed (deterministic); measure() fills it by timing each
//   route once; to_json/from_json store it in the run folder so that all ranks and a resumed run choose alike.
//   A stored route that this machine cannot run gives way to the default. Devices other than the CPU use kAten.
//   c must not overlap a or b. A world with one thread and fixed table gives the same bits every time.
// Errors: wrong shapes, dtypes or overlap are bugs (PHALANX_CHECK); a bad table is Error(kBadInput) naming `where`.
// JSON: {"version": 1, "routes": [{"m", "n", "k", "layout": "NT", "dtype": "fp32", "route": "onednn"}, ..]}
// Source: the routes were measured in a prototype: oneDNN's matmul inside LibTorch is 10-20 % above MKL on AVX-512.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <tuple>

#include "phalanx/base/json.h"

namespace phalanx::kernels {

using at::Tensor;

// kOneDnn: oneDNN's fp32 product. kFloat: half operands cast to fp32, for CPUs without half products. kFewRows: our
// own, for NT with up to 16 rows of fp32 or bf16, where reading b is what takes time.
enum class GemmRoute { kAten, kOneDnn, kFloat, kFewRows };

class Gemm {
 public:
  // NT means b is a transposed view (forward), NN plain (input gradient), TN a transposed (weight gradient).
  enum class Layout { kNN, kNT, kTN, kTT };
  using Key = std::tuple<int64_t, int64_t, int64_t, Layout, std::string>;  // M, N, K, layout, dtype

  void operator()(const Tensor& a, const Tensor& b, Tensor& c, double beta) const;
  // A fresh C.
  Tensor operator()(const Tensor& a, const Tensor& b) const;

  // Times every route on these operands (c is scratch) and remembers the fastest for their shape.
  void measure(const Tensor& a, const Tensor& b, Tensor& c);
  GemmRoute route_for(const Tensor& a, const Tensor& b) const;

  Json to_json() const;
  static Gemm from_json(const Json& json, const std::string& where);

 private:
  std::map<Key, GemmRoute> table_;
};

}  // namespace phalanx::kernels
