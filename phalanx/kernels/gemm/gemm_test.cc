#include "phalanx/kernels/gemm/gemm.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <limits>

#include "phalanx/base/error.h"
#include "phalanx/kernels/gemm/gemm_routes.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::kernels {
namespace {

using testing::fused_error;
using ::testing::HasSubstr;
using testing::random_tensor;
using testing::relative_error;
using Shape3 = std::array<int64_t, 3>;  // M, N, K

constexpr std::array kLayouts = {Gemm::Layout::kNN, Gemm::Layout::kNT, Gemm::Layout::kTN, Gemm::Layout::kTT};
constexpr std::array kRoutes = {GemmRoute::kAten, GemmRoute::kOneDnn, GemmRoute::kFloat, GemmRoute::kFewRows};
const std::vector<Shape3> kShapes = {{1, 1, 1},   {1, 5, 7},   {5, 1, 7},      {5, 7, 1},    {17, 33, 65},
                                     {1, 300, 9}, {300, 1, 9}, {64, 128, 300}, {65, 97, 67}, {128, 144, 130}};

struct Operands {
  Tensor a;
  Tensor b;
  Tensor c;
};

// Slices of one pool of values, which costs less than drawing new ones for every case.
Tensor values(int64_t rows, int64_t columns, int64_t offset, at::ScalarType dtype) {
  static const Tensor pool = random_tensor({400000}, 1);
  return pool.narrow(0, offset, rows * columns).view({rows, columns}).to(dtype);
}

Operands operands(const Shape3& shape, Gemm::Layout layout, at::ScalarType dtype) {
  const auto [m, n, k] = shape;
  const bool ta = layout == Gemm::Layout::kTN || layout == Gemm::Layout::kTT;
  const bool tb = layout == Gemm::Layout::kNT || layout == Gemm::Layout::kTT;
  return {ta ? values(k, m, 3, dtype).t() : values(m, k, 3, dtype),
          tb ? values(n, k, 17, dtype).t() : values(k, n, 17, dtype), values(m, n, 29, dtype).clone()};
}

std::string name(const Shape3& shape, Gemm::Layout layout) {
  return ::testing::PrintToString(shape) + " layout " + std::to_string(static_cast<int>(layout));
}

// The product by its definition, without any matrix product of LibTorch.
Tensor by_definition(const Tensor& a, const Tensor& b) {
  return (a.to(at::kDouble).unsqueeze(2) * b.to(at::kDouble).unsqueeze(0)).sum(1);
}

TEST(Gemm, EqualsTheDefinitionInFp64) {
  const Gemm gemm;
  for (const Shape3& shape : kShapes) {
    for (const Gemm::Layout layout : kLayouts) {
      auto [a, b, c] = operands(shape, layout, at::kDouble);
      const Tensor exact = by_definition(a, b);
      EXPECT_LE(relative_error(gemm(a, b), exact), 1e-14) << name(shape, layout);
      EXPECT_LE(relative_error(gemm_ref(a, b, c, 1.0), exact + c), 1e-14) << name(shape, layout);
      const Tensor before = c.clone();
      gemm(a, b, c, 1.0);
      EXPECT_LE(relative_error(c, exact + before), 1e-14) << name(shape, layout);
      c.fill_(std::numeric_limits<double>::quiet_NaN());
      gemm(a, b, c, 0.0);
      EXPECT_LE(relative_error(c, exact), 1e-14) << name(shape, layout);
    }
  }
}

// One route, both betas, c of the operands' dtype and in fp32: at most twice as far from fp64 as at::mm. Returns how
// many results were compared.
int expect_as_close_as_plain_ops(GemmRoute route, const Operands& o, const std::string& label) {
  const at::ScalarType dtype = o.a.scalar_type();
  const Tensor product = at::mm(o.a, o.b);
  const Tensor exact = at::mm(o.a.to(at::kDouble), o.b.to(at::kDouble));
  int compared = 0;
  for (const at::ScalarType sum_dtype : {dtype, at::kFloat}) {
    for (const double beta : {0.0, 1.0}) {
      const Tensor start = o.c.to(sum_dtype);
      Tensor c = start.clone();
      if (beta == 0.0) c.fill_(std::numeric_limits<double>::quiet_NaN());
      gemm_run(route, o.a, o.b, c, beta);
      const Tensor plain = beta == 0.0 ? product.to(sum_dtype) : start + product.to(sum_dtype);
      EXPECT_EQ(fused_error(c, plain, exact + beta * start.to(at::kDouble)), "") << label << " beta " << beta;
      ++compared;
    }
  }
  return compared;
}

TEST(Gemm, EveryRouteIsAsCloseAsPlainOps) {
  int compared = 0;
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const Shape3& shape : kShapes) {
      for (const Gemm::Layout layout : kLayouts) {
        const Operands o = operands(shape, layout, dtype);
        for (const GemmRoute route : kRoutes) {
          if (!gemm_route_serves(route, dtype, o.a.device())) continue;
          compared += expect_as_close_as_plain_ops(
              route, o, name(shape, layout) + " route " + std::to_string(static_cast<int>(route)));
        }
      }
    }
  }
  EXPECT_GE(compared, 10 * 4 * 4 * (1 + 2 + 2));
}

// Shapes with odd sums, ends of blocks in every direction, few rows, and several blocks and tasks.
TEST(Gemm, HalfProductsReachFp32Unrounded) {
  std::vector<Shape3> shapes = kShapes;
  shapes.insert(shapes.end(), {{3, 40, 21}, {31, 200, 33}, {64, 64, 512}, {65, 65, 513}, {330, 70, 1030}});
  const int threads = at::get_num_threads();
  for (const at::ScalarType dtype : {at::kBFloat16, at::kHalf}) {
    for (const Shape3& shape : shapes) {
      for (const Gemm::Layout layout : kLayouts) {
        const auto [a, b, start] = operands(shape, layout, dtype);
        const Tensor product = at::mm(a.to(at::kDouble), b.to(at::kDouble));
        for (const GemmRoute route : {GemmRoute::kAten, GemmRoute::kFloat}) {
          for (const double beta : {0.0, 1.0}) {
            Tensor c = start.to(at::kFloat);
            const Tensor exact = product + beta * c.to(at::kDouble);
            at::set_num_threads(1);
            gemm_run(route, a, b, c, beta);
            EXPECT_LE(relative_error(c, exact), 1e-6)
                << name(shape, layout) << " route " << static_cast<int>(route);
            if (route != GemmRoute::kAten || shape[0] < 300) continue;  // one task
            Tensor again = start.to(at::kFloat);
            at::set_num_threads(2);
            gemm_run(route, a, b, again, beta);
            EXPECT_TRUE(at::equal(again, c)) << name(shape, layout);
          }
        }
      }
    }
  }
  at::set_num_threads(threads);
}

void expect_reads_strided_operands(at::ScalarType dtype) {
  const Tensor a_wide = values(70, 400, 4, dtype);
  const Tensor b_wide = values(150, 300, 5, dtype);
  const std::vector<std::pair<Tensor, Tensor>> cases = {
      {a_wide.slice(1, 10, 160), b_wide.slice(1, 0, 130)},                  // row stride larger than the row
      {a_wide.slice(1, 0, 300, 2), b_wide.slice(1, 0, 260, 2)},             // no unit stride at all
      {a_wide.select(1, 3).unsqueeze(1).expand({70, 150}), b_wide},         // repeated columns
      {a_wide.narrow(0, 0, 1).slice(1, 0, 150).expand({70, 150}), b_wide},  // repeated rows
      {a_wide.slice(1, 0, 150), values(80, 151, 6, dtype).slice(1, 0, 150).t()},   // transposed, odd stride
      {a_wide.slice(1, 0, 150), values(80, 152, 6, dtype).slice(1, 1, 151).t()}};  // transposed, odd offset
  for (const auto& [a, b] : cases) {
    const Tensor exact = by_definition(a, b);
    for (const GemmRoute route : kRoutes) {
      if (!gemm_route_serves(route, dtype, a.device())) continue;
      for (const double beta : {0.0, 1.0}) {
        Tensor frame = at::full({70, b.size(1) + 20}, 7.0, at::TensorOptions(at::kFloat));
        Tensor c = frame.slice(1, 5, 5 + b.size(1));
        gemm_run(route, a, b, c, beta);
        EXPECT_LE(relative_error(c, exact + 7.0 * beta), 1e-6);
        EXPECT_TRUE((frame.slice(1, 0, 5) == 7).all().item<bool>());
        EXPECT_TRUE((frame.slice(1, 5 + b.size(1)) == 7).all().item<bool>());
      }
    }
  }
}

TEST(Gemm, ReadsStridedOperandsAndWritesIntoARowMajorView) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf})
    expect_reads_strided_operands(dtype);
}

TEST(Gemm, EmptySizes) {
  const Gemm gemm;
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat, at::kBFloat16}) {
    const auto zeros = [dtype](int64_t rows, int64_t columns) {
      return at::zeros({rows, columns}, at::TensorOptions(dtype));
    };
    EXPECT_EQ(gemm(zeros(0, 4), zeros(4, 3)).sizes(), (at::IntArrayRef{0, 3}));
    EXPECT_EQ(gemm(zeros(3, 4), zeros(4, 0)).sizes(), (at::IntArrayRef{3, 0}));
    Tensor c = at::full({3, 5}, 2.0, at::TensorOptions(dtype));
    gemm(zeros(3, 0), zeros(0, 5), c, 1.0);
    EXPECT_TRUE((c == 2).all().item<bool>());
    for (const GemmRoute route : kRoutes) {
      if (!gemm_route_serves(route, dtype, c.device())) continue;
      for (Tensor sum : {c.clone(), c.to(dtype == at::kDouble ? dtype : at::kFloat)}) {
        sum.fill_(std::numeric_limits<double>::quiet_NaN());
        gemm_run(route, zeros(3, 0), zeros(0, 5), sum, 0.0);
        EXPECT_TRUE((sum == 0).all().item<bool>());
      }
    }
  }
}

TEST(Gemm, LayoutsByStride) {
  for (const Gemm::Layout layout : kLayouts) {
    const Operands o = operands({4, 5, 6}, layout, at::kFloat);
    EXPECT_EQ(gemm_layout(o.a, o.b), layout);
  }
  const Tensor gaps = at::zeros({6, 8}).slice(1, 0, 8, 2);  // copied by the backend
  EXPECT_EQ(gemm_layout(gaps, at::zeros({4, 3})), Gemm::Layout::kNN);
  EXPECT_EQ(gemm_layout(at::zeros({1, 3}).t(), at::zeros({1, 3})), Gemm::Layout::kNN);  // a column is both
}

TEST(Gemm, TheFixedTable) {
  const Gemm gemm;
  const auto route = [&gemm](const Shape3& shape, Gemm::Layout layout, at::ScalarType dtype) {
    const Operands o = operands(shape, layout, dtype);
    return gemm.route_for(o.a, o.b);
  };
  const bool one_dnn = gemm_route_serves(GemmRoute::kOneDnn, at::kFloat, at::kCPU);
  const GemmRoute large = one_dnn ? GemmRoute::kOneDnn : GemmRoute::kAten;
  for (const Gemm::Layout layout : {Gemm::Layout::kNN, Gemm::Layout::kNT, Gemm::Layout::kTN}) {
    EXPECT_EQ(route({128, 128, 128}, layout, at::kFloat), large);
    EXPECT_EQ(route({128, 128, 127}, layout, at::kFloat), GemmRoute::kAten);
    EXPECT_EQ(route({31, 512, 512}, layout, at::kFloat), GemmRoute::kAten);
    EXPECT_EQ(route({512, 512, 512}, layout, at::kDouble), GemmRoute::kAten);
  }
  EXPECT_EQ(route({64, 512, 512}, Gemm::Layout::kNN, at::kFloat), large);
  EXPECT_EQ(route({64, 512, 512}, Gemm::Layout::kNT, at::kFloat), GemmRoute::kAten);
  EXPECT_EQ(route({512, 64, 512}, Gemm::Layout::kTN, at::kFloat), GemmRoute::kAten);
  EXPECT_EQ(route({512, 512, 512}, Gemm::Layout::kTT, at::kFloat), GemmRoute::kAten);
  EXPECT_NE(route({512, 512, 512}, Gemm::Layout::kNN, at::kBFloat16), GemmRoute::kOneDnn);
}

TEST(Gemm, TheSameBitsInEveryCallAndAtEveryAlignment) {
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const Gemm gemm;
  for (const Gemm::Layout layout : {Gemm::Layout::kNN, Gemm::Layout::kNT, Gemm::Layout::kTN}) {
    const auto [a, b, c] = operands({129, 131, 257}, layout, at::kFloat);
    const Tensor first = gemm(a, b);
    for (int64_t offset = 0; offset < 5; ++offset) {
      const Tensor flat = at::empty({a.numel() + 5}).narrow(0, offset, a.numel());
      const Tensor moved = at::as_strided(flat, a.sizes(), a.strides(), flat.storage_offset());
      moved.copy_(a);
      EXPECT_TRUE(at::equal(gemm(moved, b), first)) << offset;
    }
  }
  at::set_num_threads(threads);
}

TEST(Gemm, AStoredRouteIsUsedForItsKeyOnly) {
  const Json json = parse_json(R"({"version": 1, "routes": [
      {"m": 4, "n": 5, "k": 6, "layout": "NT", "dtype": "bf16", "route": "float"},
      {"m": 512, "n": 512, "k": 512, "layout": "NN", "dtype": "fp32", "route": "aten"}]})",
                               "here");
  const Gemm gemm = Gemm::from_json(json, "here");
  EXPECT_EQ(gemm.to_json(), json);
  const auto route = [&gemm](const Shape3& shape, Gemm::Layout layout, at::ScalarType dtype) {
    const Operands o = operands(shape, layout, dtype);
    return gemm.route_for(o.a, o.b);
  };
  EXPECT_EQ(route({4, 5, 6}, Gemm::Layout::kNT, at::kBFloat16), GemmRoute::kFloat);
  EXPECT_EQ(route({512, 512, 512}, Gemm::Layout::kNN, at::kFloat), GemmRoute::kAten);
  const Operands other = operands({4, 5, 7}, Gemm::Layout::kNT, at::kBFloat16);
  EXPECT_EQ(gemm.route_for(other.a, other.b), gemm_default_route(other.a, other.b));
  const Operands large = operands({512, 512, 512}, Gemm::Layout::kNT, at::kFloat);
  EXPECT_EQ(gemm.route_for(large.a, large.b), gemm_default_route(large.a, large.b));
  // Another device cannot run the stored route.
  const Operands known = operands({4, 5, 6}, Gemm::Layout::kNT, at::kBFloat16);
  EXPECT_EQ(gemm.route_for(known.a.to(at::kMeta), known.b.to(at::kMeta)), GemmRoute::kAten);
}

TEST(Gemm, MeasureRemembersARouteThatServes) {
  Gemm gemm;
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kDouble}) {
    auto [a, b, c] = operands({33, 40, 50}, Gemm::Layout::kTN, dtype);
    gemm.measure(a, b, c);
    EXPECT_LE(relative_error(c, by_definition(a, b)), dtype == at::kBFloat16 ? 1e-2 : 1e-6);
  }
  const Json json = gemm.to_json();
  ASSERT_EQ(json["routes"].size(), 3u);
  const Json& entry = json["routes"][0];
  EXPECT_EQ(entry["m"], 33);
  EXPECT_EQ(entry["n"], 40);
  EXPECT_EQ(entry["k"], 50);
  EXPECT_EQ(entry["layout"], "TN");
  EXPECT_EQ(entry["dtype"], "bf16");
  const Gemm again = Gemm::from_json(parse_json(json.dump(), "memory"), "memory");
  EXPECT_EQ(again.to_json(), json);
}

std::string refusal(const std::string& text) {
  try {
    Gemm::from_json(parse_json(text, "run/gemm.json"), "run/gemm.json");
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kBadInput);
    return e.what();
  }
  return "";
}

std::string refusal_of_entry(const std::string& from, const std::string& to) {
  std::string text =
      R"({"version": 1, "routes": [{"m": 4, "n": 5, "k": 6, "layout": "NT", "dtype": "fp32", "route": "aten"}]})";
  EXPECT_EQ(refusal(text), "");
  text.replace(text.find(from), from.size(), to);
  return refusal(text);
}

TEST(Gemm, BadTablesAreRefused) {
  EXPECT_THAT(refusal("[]"), HasSubstr("run/gemm.json: field 'version': got []"));
  EXPECT_THAT(refusal("{}"), HasSubstr("field 'version': got no such field"));
  EXPECT_THAT(refusal(R"({"version": 2, "routes": []})"), HasSubstr("got 2; needed version 1"));
  EXPECT_THAT(refusal(R"({"version": 1})"), HasSubstr("field 'routes': got no such field"));
  EXPECT_THAT(refusal(R"({"version": 1, "routes": {}})"), HasSubstr("needed a list"));
  EXPECT_THAT(refusal(R"({"version": 1, "routes": [3]})"), HasSubstr("routes[0]: field 'route': got 3"));
  EXPECT_THAT(refusal_of_entry("\"aten\"", "\"cublas\""),
              HasSubstr("routes[0]: field 'route': got 'cublas'; needed one of aten onednn float"));
  EXPECT_THAT(refusal_of_entry("\"aten\"", "7"), HasSubstr("field 'route': got 7"));
  EXPECT_THAT(refusal_of_entry("\"aten\"", "\"float\""), HasSubstr("got float; needed a route for fp32"));
  EXPECT_THAT(refusal_of_entry("\"NT\"", "\"XY\""), HasSubstr("needed one of NN NT TN TT"));
  EXPECT_THAT(refusal_of_entry("\"fp32\"", "\"int8\""), HasSubstr("needed one of fp64 fp32 bf16 fp16"));
  EXPECT_THAT(refusal_of_entry("\"m\": 4", "\"m\": -4"), HasSubstr("field 'm': got -4; needed a size"));
  EXPECT_THAT(refusal_of_entry("\"m\": 4", "\"m\": 4.5"), HasSubstr("field 'm': got 4.5"));
  EXPECT_THAT(refusal_of_entry("\"k\": 6, ", ""), HasSubstr("field 'k': got no such field"));
}

TEST(GemmDeathTest, WrongOperandsAreBugs) {
  const Gemm gemm;
  const Tensor a = at::zeros({2, 3});
  const Tensor b = at::zeros({3, 4});
  Tensor c = at::zeros({2, 4});
  Tensor wrong = at::zeros({4, 2}).t();
  Tensor half = c.to(at::kBFloat16);
  EXPECT_DEATH(gemm(a, a), "a Float \\[2, 3\\] and b Float \\[2, 3\\] do not multiply");
  EXPECT_DEATH(gemm(a, b.to(at::kDouble)), "need one floating dtype");
  EXPECT_DEATH(gemm(a, b, wrong, 0.0), "c is row-major");
  EXPECT_DEATH(gemm(a, b, half, 0.0), "cannot hold the product");
  EXPECT_DEATH(gemm(a, b, c, 0.5), "beta is 0.5, not 0 or 1");
  Tensor whole = at::zeros({9, 4});
  Tensor part = whole.narrow(0, 3, 2);
  EXPECT_DEATH(gemm(at::zeros({2, 9}), whole, part, 0.0), "c overlaps an operand");
}

}  // namespace
}  // namespace phalanx::kernels
