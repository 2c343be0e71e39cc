#include "phalanx/kernels/gemm/gemm.h"

#include <ATen/ATen.h>
#include <ATen/MemoryOverlap.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <span>

#include "phalanx/base/clock.h"
#include "phalanx/base/error.h"
#include "phalanx/kernels/arguments.h"
#include "phalanx/kernels/gemm/gemm_few_rows.h"
#include "phalanx/kernels/gemm/gemm_routes.h"

namespace phalanx::kernels {
namespace {

constexpr int64_t kVersion = 1;
constexpr int kTimedCalls = 3;

template <typename E>
struct Name {
  E value;
  const char* text;
};

constexpr std::array<Name<GemmRoute>, 4> kRoutes = {{{GemmRoute::kAten, "aten"},
                                                     {GemmRoute::kOneDnn, "onednn"},
                                                     {GemmRoute::kFloat, "float"},
                                                     {GemmRoute::kFewRows, "few_rows"}}};
constexpr std::array<Name<Gemm::Layout>, 4> kLayouts = {{{Gemm::Layout::kNN, "NN"},
                                                         {Gemm::Layout::kNT, "NT"},
                                                         {Gemm::Layout::kTN, "TN"},
                                                         {Gemm::Layout::kTT, "TT"}}};
constexpr std::array<Name<at::ScalarType>, 4> kDtypes = {
    {{at::kDouble, "fp64"}, {at::kFloat, "fp32"}, {at::kBFloat16, "bf16"}, {at::kHalf, "fp16"}}};

template <typename E, size_t N>
const char* name_of(const std::array<Name<E>, N>& names, E value) {
  for (const Name<E>& name : names) {
    if (name.value == value) return name.text;
  }
  return "";
}

template <typename E, size_t N>
E value_of(const std::array<Name<E>, N>& names, const Json& object, const char* key,
           const std::string& where) {
  const auto text = json_get<std::string>(object, key, where);
  std::string needed = "one of";
  for (const Name<E>& name : names) {
    if (text == name.text) return name.value;
    needed += std::string(" ") + name.text;
  }
  throw_json_field(where, key, "'" + text + "'", needed);
}

int64_t size_of(const Json& object, const char* key, const std::string& where) {
  const auto it = object.find(key);
  if (it == object.end()) throw_json_field(where, key, "no such field", "a size");
  if (!it->is_number_integer() || it->get<int64_t>() < 0) throw_json_field(where, key, it->dump(), "a size");
  return it->get<int64_t>();
}

Gemm::Key key_of(const Tensor& a, const Tensor& b) {
  return {a.size(0), b.size(1), a.size(1), gemm_layout(a, b), name_of(kDtypes, a.scalar_type())};
}

bool overlaps(const Tensor& a, const Tensor& b) {
  const at::MemOverlapStatus status = at::get_overlap_status(a, b);
  return status == at::MemOverlapStatus::Full || status == at::MemOverlapStatus::Partial;
}

void check_operands(const Tensor& a, const Tensor& b) {
  PHALANX_CHECK(a.dim() == 2 && b.dim() == 2 && a.size(1) == b.size(0),
                fmt::format("gemm: a {} and b {} do not multiply", shape_of(a), shape_of(b)));
  PHALANX_CHECK(a.scalar_type() == b.scalar_type() && *name_of(kDtypes, a.scalar_type()) != '\0',
                fmt::format("gemm: a {} and b {} need one floating dtype", shape_of(a), shape_of(b)));
  PHALANX_CHECK(a.device() == b.device(), "gemm: a and b are on different devices");
}

void check_result(const Tensor& a, const Tensor& b, const Tensor& c, double beta) {
  PHALANX_CHECK(c.dim() == 2 && c.size(0) == a.size(0) && c.size(1) == b.size(1),
                fmt::format("gemm: a {} times b {} is not c {}", shape_of(a), shape_of(b), shape_of(c)));
  const bool half = a.scalar_type() == at::kBFloat16 || a.scalar_type() == at::kHalf;
  PHALANX_CHECK(c.scalar_type() == a.scalar_type() || (half && c.scalar_type() == at::kFloat),
                fmt::format("gemm: c {} cannot hold the product of {}", shape_of(c), shape_of(a)));
  PHALANX_CHECK(c.size(1) <= 1 || c.stride(1) == 1, "gemm: c is row-major");
  PHALANX_CHECK(c.device() == a.device(), "gemm: c is on another device than a");
  PHALANX_CHECK(!overlaps(c, a) && !overlaps(c, b), "gemm: c overlaps an operand");
  PHALANX_CHECK(beta == 0.0 || beta == 1.0, fmt::format("gemm: beta is {}, not 0 or 1", beta));
}

}  // namespace

void Gemm::operator()(const Tensor& a, const Tensor& b, Tensor& c, double beta) const {
  check_operands(a, b);
  check_result(a, b, c, beta);
  if (c.numel() == 0) return;
  gemm_run(route_for(a, b), a, b, c, beta);
}

Tensor Gemm::operator()(const Tensor& a, const Tensor& b) const {
  check_operands(a, b);
  Tensor c = at::empty({a.size(0), b.size(1)}, a.options());
  if (c.numel() > 0) gemm_run(route_for(a, b), a, b, c, 0.0);
  return c;
}

void Gemm::measure(const Tensor& a, const Tensor& b, Tensor& c) {
  check_operands(a, b);
  check_result(a, b, c, 0.0);
  if (!a.device().is_cpu() || c.numel() == 0) return;
  GemmRoute best = GemmRoute::kAten;
  double best_seconds = std::numeric_limits<double>::infinity();
  for (const Name<GemmRoute>& route : kRoutes) {
    if (!gemm_route_serves(route.value, a.scalar_type(), a.device())) continue;
    if (route.value == GemmRoute::kFewRows && !gemm_few_rows_takes(a, b)) continue;
    gemm_run(route.value, a, b, c, 0.0);  // the first call may compile a kernel
    for (int call = 0; call < kTimedCalls; ++call) {
      const double start = monotonic_seconds();
      gemm_run(route.value, a, b, c, 0.0);
      const double seconds = monotonic_seconds() - start;
      if (seconds < best_seconds) {
        best_seconds = seconds;
        best = route.value;
      }
    }
  }
  table_[key_of(a, b)] = best;
}

GemmRoute Gemm::route_for(const Tensor& a, const Tensor& b) const {
  if (!table_.empty()) {
    const auto it = table_.find(key_of(a, b));
    if (it != table_.end() && gemm_route_serves(it->second, a.scalar_type(), a.device())) return it->second;
  }
  return gemm_default_route(a, b);
}

Json Gemm::to_json() const {
  Json routes = Json::array();
  for (const auto& [key, route] : table_) {
    const auto& [m, n, k, layout, dtype] = key;
    routes.push_back({{"m", m},
                      {"n", n},
                      {"k", k},
                      {"layout", name_of(kLayouts, layout)},
                      {"dtype", dtype},
                      {"route", name_of(kRoutes, route)}});
  }
  return {{"version", kVersion}, {"routes", routes}};
}

Gemm Gemm::from_json(const Json& json, const std::string& where) {
  if (!json.is_object()) throw_json_field(where, "version", json.dump(), "an object with version and routes");
  const int64_t version = size_of(json, "version", where);
  if (version != kVersion) {
    throw_json_field(where, "version", std::to_string(version), fmt::format("version {}", kVersion));
  }
  const Json routes = json_get<Json>(json, "routes", where);
  if (!routes.is_array()) throw_json_field(where, "routes", routes.dump(), "a list");
  Gemm gemm;
  for (size_t i = 0; i < routes.size(); ++i) {
    const Json& entry = routes[i];
    const std::string here = fmt::format("{}: routes[{}]", where, i);
    if (!entry.is_object()) throw_json_field(here, "route", entry.dump(), "an object");
    const at::ScalarType dtype = value_of(kDtypes, entry, "dtype", here);
    const GemmRoute route = value_of(kRoutes, entry, "route", here);
    // Which dtypes a route serves does not depend on the machine; whether this one runs it is asked later.
    const bool half = dtype == at::kBFloat16 || dtype == at::kHalf;
    if ((route == GemmRoute::kOneDnn && dtype != at::kFloat) || (route == GemmRoute::kFloat && !half) ||
        (route == GemmRoute::kFewRows && dtype != at::kFloat && dtype != at::kBFloat16)) {
      throw_json_field(here, "route", name_of(kRoutes, route),
                       fmt::format("a route for {}", name_of(kDtypes, dtype)));
    }
    const Key key{size_of(entry, "m", here), size_of(entry, "n", here), size_of(entry, "k", here),
                  value_of(kLayouts, entry, "layout", here), name_of(kDtypes, dtype)};
    if (route == GemmRoute::kFewRows &&
        (std::get<0>(key) > kGemmFewRows || std::get<Gemm::Layout>(key) != Gemm::Layout::kNT)) {
      throw_json_field(here, "route", name_of(kRoutes, route), "a route for this m and layout");
    }
    gemm.table_[key] = route;
  }
  return gemm;
}

}  // namespace phalanx::kernels
