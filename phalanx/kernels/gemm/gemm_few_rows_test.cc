#include "phalanx/kernels/gemm/gemm_few_rows.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <limits>

#include "phalanx/kernels/gemm/gemm_routes.h"
#include "phalanx/kernels/test_targets.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::kernels {
namespace {

using testing::random_tensor;
using testing::relative_error;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// Slices of one pool of values, which costs less than drawing new ones for every case.
Tensor values(int64_t rows, int64_t columns, int64_t offset, at::ScalarType dtype) {
  static const Tensor pool = random_tensor({300000}, 1);
  return pool.narrow(0, offset, rows * columns).view({rows, columns}).to(dtype);
}

void expect_product(const Tensor& a, const Tensor& w, const std::string& label) {
  const int64_t columns = w.size(0);
  const Tensor product = at::mm(a.to(at::kDouble), w.to(at::kDouble).t());
  for (const at::ScalarType dtype : {a.scalar_type(), at::kFloat}) {
    for (const double beta : {0.0, 1.0}) {
      Tensor frame = at::full({a.size(0), columns + 9}, beta == 0.0 ? kNaN : 7.0, at::TensorOptions(dtype));
      Tensor c = frame.narrow(1, 4, columns);
      gemm_few_rows(a, w.t(), c, beta);
      EXPECT_LE(relative_error(c, product + 7.0 * beta), dtype == at::kBFloat16 ? 5e-3 : 1e-6)
          << label << " beta " << beta;
      const Tensor sides = at::cat({frame.narrow(1, 0, 4), frame.narrow(1, 4 + columns, 5)}, 1);
      EXPECT_TRUE((beta == 0.0 ? sides.isnan() : sides == 7.0).all().item<bool>()) << label;
    }
  }
}

TEST(GemmFewRows, EveryNumberOfRowsAndEndsOfBlocks) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (int64_t rows = 1; rows <= 16; ++rows) {
      for (const int64_t columns : {2, 3, 5, 12, 13, 37}) {
        for (const int64_t length : {2, 7, 16, 31, 32, 33, 80, 131}) {
          expect_product(values(rows, length, 3, dtype), values(columns, length, 17, dtype),
                         fmt::format("{} {}x{}x{}", toString(dtype), rows, columns, length));
        }
      }
    }
  }
}

TEST(GemmFewRows, EveryVectorWidth) {
  phalanx::testing::for_each_target([](const std::string& target) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      for (const int64_t rows : {1, 3, 16}) {
        for (const int64_t length : {7, 33, 131}) {
          expect_product(values(rows, length, 3, dtype), values(37, length, 17, dtype), target);
        }
      }
    }
  });
}

TEST(GemmFewRows, LongRowsAndManyColumns) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (const int64_t rows : {1, 2, 8, 11, 16}) {
      expect_product(values(rows, 3072, 3, dtype), values(51, 3072, 17, dtype), "long");
      expect_product(values(rows, 96, 3, dtype), values(1804, 96, 17, dtype), "many");
    }
  }
}

TEST(GemmFewRows, ReadsStridedOperands) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const Tensor wide = values(16, 400, 4, dtype);
    const Tensor w = values(40, 300, 5, dtype).slice(1, 3, 103);
    for (const Tensor& a :
         {wide.slice(1, 10, 110), wide.slice(1, 0, 300, 3), wide.narrow(0, 2, 1).slice(1, 7, 107),
          wide.narrow(0, 2, 1).slice(1, 7, 107).expand({5, 100})}) {
      ASSERT_TRUE(gemm_few_rows_takes(a, w.t()));
      expect_product(a, w, "strided");
    }
  }
}

TEST(GemmFewRows, TakesOnlyWhatItServes) {
  const auto takes = [](const Tensor& a, const Tensor& b) {
    // Products of halves are faster from five rows on.
    const bool other =
        a.scalar_type() == at::kBFloat16 && a.size(0) > 4 && gemm_has_half_products(at::kBFloat16);
    EXPECT_EQ(gemm_default_route(a, b) == GemmRoute::kFewRows, gemm_few_rows_takes(a, b) && !other);
    return gemm_few_rows_takes(a, b);
  };
  const Tensor a = at::zeros({16, 8});
  const Tensor w = at::zeros({12, 8});
  EXPECT_TRUE(takes(a, w.t()));
  EXPECT_TRUE(takes(a.to(at::kBFloat16), w.to(at::kBFloat16).t()));
  EXPECT_TRUE(takes(a.narrow(0, 0, 4).to(at::kBFloat16), w.to(at::kBFloat16).t()));
  EXPECT_FALSE(takes(at::zeros({17, 8}), w.t()));
  EXPECT_FALSE(takes(a, w.t().contiguous()));
  EXPECT_FALSE(takes(a.t().contiguous().t(), w.t()));
  EXPECT_FALSE(takes(a.to(at::kDouble), w.to(at::kDouble).t()));
  EXPECT_FALSE(takes(a.to(at::kHalf), w.to(at::kHalf).t()));
  EXPECT_FALSE(takes(a.to(at::kMeta), w.to(at::kMeta).t()));
}

// A row of c has the same bits with other rows beside it, on other threads and among fewer columns.
TEST(GemmFewRows, TheSameBitsInAnyCompany) {
  const int threads = at::get_num_threads();
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const Tensor a = values(16, 200, 3, dtype);
    const Tensor w = values(1000, 200, 17, dtype);
    const auto product = [](const Tensor& x, const Tensor& y) {
      Tensor c = at::empty({x.size(0), y.size(0)});
      gemm_few_rows(x, y.t(), c, 0.0);
      return c;
    };
    at::set_num_threads(1);
    const Tensor whole = product(a, w);
    for (const int count : {2, 3, 4}) {
      at::set_num_threads(count);
      EXPECT_TRUE(at::equal(product(a, w), whole)) << count;
    }
    for (int64_t rows = 1; rows < 16; ++rows) {
      EXPECT_TRUE(at::equal(product(a.narrow(0, 16 - rows, rows), w), whole.narrow(0, 16 - rows, rows)))
          << rows;
    }
    EXPECT_TRUE(at::equal(product(a, w.narrow(0, 7, 12)), whole.narrow(1, 7, 12)));
  }
  at::set_num_threads(threads);
}

TEST(GemmFewRows, AStoredRouteMeetsOtherStrides) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const Tensor a = values(4, 30, 3, dtype);
    const Tensor b = values(30, 5, 17, dtype);
    Tensor c = at::empty({4, 5});
    gemm_run(GemmRoute::kFewRows, a, b, c, 0.0);  // NN
    EXPECT_LE(relative_error(c, at::mm(a.to(at::kDouble), b.to(at::kDouble))), 1e-6);
  }
}

TEST(GemmFewRows, TheTableKnowsTheRoute) {
  const Json json = parse_json(
      R"({"version": 1, "routes": [{"m": 4, "n": 5, "k": 6, "layout": "NT", "dtype": "bf16", "route": "few_rows"}]})",
      "here");
  const Gemm gemm = Gemm::from_json(json, "here");
  EXPECT_EQ(gemm.to_json(), json);
  EXPECT_EQ(gemm.route_for(values(4, 6, 0, at::kBFloat16), values(5, 6, 0, at::kBFloat16).t()),
            GemmRoute::kFewRows);
  // An older table's choice stays.
  const Gemm older = Gemm::from_json(
      parse_json(
          R"({"version": 1, "routes": [{"m": 4, "n": 5, "k": 6, "layout": "NT", "dtype": "fp32", "route": "aten"}]})",
          "here"),
      "here");
  EXPECT_EQ(older.route_for(values(4, 6, 0, at::kFloat), values(5, 6, 0, at::kFloat).t()), GemmRoute::kAten);
}

TEST(GemmFewRows, TheTableRefusesWhatTheRouteNeverTakes) {
  const auto refusal = [](const std::string& size, const std::string& layout, const std::string& dtype) {
    const std::string text = R"({"version": 1, "routes": [{"m": )" + size +
                             R"(, "n": 5, "k": 6, "layout": ")" + layout + R"(", "dtype": ")" + dtype +
                             R"(", "route": "few_rows"}]})";
    try {
      Gemm::from_json(parse_json(text, "here"), "here");
    } catch (const std::exception& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_EQ(refusal("16", "NT", "fp32"), "");
  for (const std::string& text : {refusal("17", "NT", "fp32"), refusal("16", "NN", "fp32")}) {
    EXPECT_NE(text.find("field 'route': got few_rows; needed a route for this m and layout"),
              std::string::npos)
        << text;
  }
  EXPECT_NE(refusal("4", "NT", "fp64").find("got few_rows; needed a route for fp64"), std::string::npos);
}

}  // namespace
}  // namespace phalanx::kernels
