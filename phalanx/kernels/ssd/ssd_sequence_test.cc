#include <ATen/Parallel.h>

#include "phalanx/base/clock.h"
#include "phalanx/kernels/ssd/test_ssd.h"

namespace phalanx::kernels {
namespace {

using testing::fused_error;
using testing::random_tensor;
using testing::relative_error;

constexpr double kSame = 1e-12;

// Rows [first, last) of d, from `initial`.
SsdData part(const SsdData& d, int64_t first, int64_t last, const Tensor& initial, const Tensor& dfinal) {
  SsdData result = d;
  for (Tensor* t :
       {&result.in.x, &result.in.dt, &result.in.B, &result.in.C, &result.dy, &result.in.document}) {
    if (t->defined()) *t = t->slice(1, first, last);
  }
  result.in.initial = initial;
  result.dfinal = dfinal;
  return result;
}

// Results of one piece after the other along the rows: y, dx, ddt, dB, dC are joined, parameters are summed.
void append(std::vector<Tensor>& all, const std::vector<Tensor>& piece) {
  if (all.empty()) {
    all = piece;
    return;
  }
  for (size_t i = 0; i < all.size(); ++i) {
    const bool rows = i == 0 || (i >= 2 && i < 6);
    const bool parameters = i >= 6 && i < 9;
    if (rows) all[i] = at::cat({all[i], piece[i]}, 1);
    if (parameters) all[i] = all[i] + piece[i];
  }
  all[1] = piece[1];
}

TEST(SsdDocuments, EqualEachAlone) {
  for (const std::vector<int64_t>& starts : {std::vector<int64_t>{5},
                                             {8},
                                             {7, 8, 9},
                                             {1, 2, 3, 12, 13, 16, 24, 30},
                                             {24},
                                             {16, 24},
                                             {9, 10},
                                             {1},
                                             {31}}) {
    for (const bool initial : {false, true}) {
      const SsdCase c = {.B = 1, .S = 32, .initial = initial, .starts = starts};
      const SsdData d = ssd_data(c);
      std::vector<int64_t> edges = {0};
      edges.insert(edges.end(), starts.begin(), starts.end());
      edges.push_back(c.S);
      std::vector<Tensor> alone;
      for (size_t i = 0; i + 1 < edges.size(); ++i) {
        SsdData piece = part(d, edges[i], edges[i + 1], i == 0 ? d.in.initial : Tensor(),
                             i + 2 == edges.size() ? d.dfinal : Tensor());
        piece.in.document = Tensor();
        append(alone, ssd_results(piece));
      }
      ssd_expect_near(ssd_results(d), alone, kSame, c.name());
    }
  }
}

// Whatever stands in another document changes no bit of this one.
TEST(SsdDocuments, ChangeNoBitOfAnother) {
  const SsdCase c = {
      .B = 1, .S = 40, .P = 16, .N = 16, .spec = {.chunk = 16}, .initial = false, .starts = {21}};
  const SsdData d = ssd_data(c).to(at::kFloat);
  SsdData other = d;
  for (Tensor* t : {&other.in.x, &other.in.B, &other.in.C, &other.in.dt, &other.dy}) {
    *t = t->clone();
    t->narrow(1, 0, 21).copy_(random_tensor(t->narrow(1, 0, 21).sizes().vec(), 77, at::kFloat, 3.0));
  }
  const std::vector<Tensor> a = ssd_results(d);
  const std::vector<Tensor> b = ssd_results(other);
  for (const size_t i : {0, 2, 3, 4, 5}) {
    EXPECT_TRUE(at::equal(a[i].narrow(1, 21, 19), b[i].narrow(1, 21, 19))) << ssd_names()[i];
  }
  EXPECT_TRUE(at::equal(a[1], b[1]));
}

TEST(Ssd, TwoPiecesWithTheStateCarriedEqualOne) {
  for (const int64_t cut : {1, 8, 11, 22}) {
    const SsdCase c = {.starts = {4, 15}};
    const SsdData d = ssd_data(c);
    // Across the cut a document goes on in both or in none.
    if (cut == 4 || cut == 15) continue;
    const SsdForward first = ssd_forward(part(d, 0, cut, d.in.initial, {}).in, d.spec);
    const std::vector<Tensor> second = ssd_results(part(d, cut, c.S, first.final_state, d.dfinal));
    std::vector<Tensor> both = ssd_results(part(d, 0, cut, d.in.initial, second.back()));
    append(both, second);
    ssd_expect_near(both, ssd_results(d), kSame, std::to_string(cut));
  }
}

TEST(SsdStep, EqualsForwardRowByRow) {
  for (const SsdCase& c : {SsdCase{.B = 3, .S = 9}, SsdCase{.B = 3, .S = 5, .H = 6, .P = 16, .G = 1, .N = 33},
                           SsdCase{.B = 3, .S = 4, .spec = {.chunk = 8, .dt_min = 0.2, .dt_max = 0.3}}}) {
    for (const at::ScalarType dtype : {at::kDouble, at::kFloat, at::kBFloat16}) {
      const SsdData d = ssd_data(c).to(dtype);
      const SsdForward f = ssd_forward(d.in, d.spec);
      const SsdForward exact = ssd_forward_ref(d.to(at::kDouble).in, d.spec);
      const SsdForward plain = ssd_forward_ref(d.in, d.spec);
      const Tensor slot = at::tensor({4, 0, 2}, at::kLong);
      const Tensor states = at::full({6, c.H, c.P, c.N}, 9.0, f.states.options());
      states.index_copy_(0, slot, d.in.initial);
      const Tensor planned = states.clone();
      for (int64_t t = 0; t < c.S; ++t) {
        SsdInputs row = d.in;
        for (Tensor* tensor : {&row.x, &row.dt, &row.B, &row.C}) *tensor = tensor->select(1, t);
        const Tensor y = ssd_step(row, d.spec, states, slot);
        EXPECT_EQ(y.scalar_type(), dtype);
        EXPECT_EQ(fused_error(y, plain.y.select(1, t), exact.y.select(1, t)), "") << t;
        EXPECT_LE(relative_error(ssd_step_ref(row, d.spec, planned, slot), y),
                  dtype == at::kBFloat16 ? 1e-2 : 1e-5);
      }
      const double tolerance = dtype == at::kDouble ? kSame : 1e-5;
      EXPECT_LE(relative_error(states.index_select(0, slot), f.final_state), tolerance);
      EXPECT_LE(relative_error(planned, states), tolerance);
      for (const int64_t other : {1, 3, 5}) EXPECT_TRUE(states[other].eq(9.0).all().item<bool>());
    }
  }
}

TEST(SsdStepDeathTest, WrongArgumentsAreBugs) {
  const SsdData d = ssd_data({.S = 1});
  SsdInputs row = d.in;
  for (Tensor* tensor : {&row.x, &row.dt, &row.B, &row.C}) *tensor = tensor->select(1, 0);
  const Tensor states = at::zeros({3, 4, 5, 6}, at::kDouble);
  EXPECT_DEATH(ssd_step(row, {}, states, at::tensor({0, 3}, at::kLong)), "slot 3 of 3");
  EXPECT_DEATH(ssd_step(row, {}, states, at::tensor({1, 1}, at::kLong)), "slot 1 occurs twice");
  EXPECT_DEATH(ssd_step(row, {}, states, at::tensor({0}, at::kLong)), "slot is Long \\[1\\]");
  EXPECT_DEATH(ssd_step(row, {}, states.to(at::kFloat), at::tensor({0, 1}, at::kLong)), "states is Float");
  EXPECT_DEATH(ssd_step(row, {}, states.transpose(0, 1), at::tensor({0, 1}, at::kLong)), "contiguous");
}

// Left alone, such a number times 0.7 is rounded to itself for ever, and on many machines costs a hundred times more.
int64_t subnormal(const Tensor& t) {
  const Tensor size = t.abs();
  return size.gt(0).logical_and(size.lt(std::numeric_limits<float>::min())).sum().item<int64_t>();
}

TEST(SsdFlush, AStateThatOnlyDecaysBecomesZero) {
  SsdCase c = {
      .B = 1, .S = 1200, .H = 1, .P = 3, .G = 1, .N = 17, .spec = {.chunk = 4, .dt_min = 0.1, .dt_max = 0.1}};
  SsdData d = ssd_data(c).to(at::kFloat);
  d.in.A_log.zero_();
  d.in.x.zero_();
  d.dy.narrow(1, 0, c.S - 1).zero_();
  const std::vector<Tensor> results = ssd_results(d);
  for (size_t i = 0; i < results.size(); ++i) EXPECT_EQ(subnormal(results[i]), 0) << ssd_names()[i];
  EXPECT_TRUE(results[1].eq(0).all().item<bool>() && results.back().eq(0).all().item<bool>());

  SsdInputs row = d.in;
  for (Tensor* tensor : {&row.x, &row.dt, &row.B, &row.C}) *tensor = tensor->select(1, 0);
  const Tensor states = d.in.initial.clone();
  for (int64_t t = 0; t < c.S; ++t) ssd_step(row, d.spec, states, at::zeros({1}, at::kLong));
  EXPECT_TRUE(states.eq(0).all().item<bool>());
  // Other arithmetic of this thread is as before.
  EXPECT_EQ(subnormal(at::full({1}, 1e-30f) * 1e-10), 1);
}

struct Extreme {
  const char* name;
  double dt;     // before softplus
  double A_log;  // of the first head; the second's is 0
  bool silent;   // no input after the first rows: the state only decays
};

const std::vector<Extreme>& extremes() {
  static const std::vector<Extreme> result = {{"large steps", 5.0, 9.2103, false},
                                              {"small steps", -16.0, 9.2103, false},
                                              {"slow decay", -16.0, 0.0, false},
                                              {"no decay", -50.0, -20.0, false},
                                              {"steps above the threshold", 40.0, 9.2103, false},
                                              {"decay into silence", -3.0, 0.0, true},
                                              {"fast decay into silence", 1.0, 2.0, true}};
  return result;
}

SsdData usual_data(int64_t rows) {
  return ssd_data({.B = 1, .S = rows, .H = 2, .P = 16, .G = 1, .N = 16, .spec = {.chunk = 64}})
      .to(at::kFloat);
}

SsdData extreme_data(const SsdData& usual, const Extreme& e) {
  SsdData d = usual;
  d.in.dt = at::full_like(d.in.dt, e.dt) + usual.in.dt * 0.1;
  d.in.dt_bias = at::zeros_like(d.in.dt_bias);
  d.in.A_log = at::tensor({e.A_log, 0.0}).to(at::kFloat);
  if (e.silent) {
    d.in.x = d.in.x.clone();
    d.dy = d.dy.clone();
    d.in.x.slice(1, 100).zero_();
    d.dy.slice(1, 0, d.dy.size(1) - 100).zero_();
  }
  return d;
}

void expect_finite(const std::vector<Tensor>& results, const char* name) {
  for (size_t i = 0; i < results.size(); ++i) {
    EXPECT_TRUE(results[i].isfinite().all().item<bool>()) << name << ": " << ssd_names()[i];
  }
}

TEST(Ssd, ExtremesStayFiniteAndAsCloseAsPlainOps) {
  const SsdData usual = usual_data(300);
  for (const Extreme& e : extremes()) {
    const SsdData d = extreme_data(usual, e);
    const std::vector<Tensor> results = ssd_results(d);
    expect_finite(results, e.name);
    const std::vector<Tensor> plain = ssd_plain_results(d), exact = ssd_plain_results(d.to(at::kDouble));
    for (size_t i = 0; i < results.size(); ++i) {
      EXPECT_EQ(fused_error(results[i], plain[i], exact[i]), "") << e.name << ": " << ssd_names()[i];
    }
  }
}

double seconds_of(const SsdData& d, std::vector<Tensor>& results) {
  double best = 1e9;
  for (int i = 0; i < 3; ++i) {
    const double begin = monotonic_seconds();
    results = ssd_results(d);
    best = std::min(best, monotonic_seconds() - begin);
  }
  return best;
}

// Very long, with decays from none to total: no NaN, no infinity, and no time lost in numbers below the smallest
// normal.
TEST(SsdSlow, ExtremesStayFiniteAndFast) {
  const SsdData usual = usual_data(65536);
  std::vector<Tensor> results;
  const double usual_time = seconds_of(usual, results);
  for (const Extreme& e : extremes()) {
    const double time = seconds_of(extreme_data(usual, e), results);
    expect_finite(results, e.name);
    EXPECT_LT(time, 1.5 * usual_time) << e.name;
    RecordProperty(e.name, fmt::format("{:.2f} of the usual time", time / usual_time));
  }
}

}  // namespace
}  // namespace phalanx::kernels
