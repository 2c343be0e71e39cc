#include <algorithm>
#include <functional>

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/plan/memory.h"
#include "phalanx/plan/paper_checks.h"
#include "phalanx/plan/plan_flops.h"
#include "phalanx/plan/published.h"
#include "phalanx/plan/time_model.h"

namespace phalanx {
namespace {

const FigureConfig& figure(int number) {
  static const std::vector<FigureConfig> all = figure_configs();
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const FigureConfig& f) { return f.figure == number; });
  PHALANX_CHECK(found != all.end(), "a figure of published.h");
  return *found;
}

PlanModel model_of_figure(const FigureConfig& f, int64_t layers) {
  return paper_gpt(fmt::format("figure {}", f.figure), layers, f.hidden, f.heads);
}

struct FigurePoint {
  std::string name;
  double rate = 0;  // TFLOP/s a GPU
};

// A curve or bar chart of one figure, priced.
class Pricer {
 public:
  explicit Pricer(const Cluster& cluster) : cluster_(cluster) {}

  double rate(const PlanModel& model, PlanLayout layout) const {
    const double seconds = step_time(model, layout, cluster_, find_software("megatron-2021")).seconds;
    const PaperFlops flops = paper_flops(layout.global_batch, model.sequence,
                                         model.count(LayerKind::kAttention), model.hidden, model.vocab);
    // Figures state rates of full recompute; where it is off the same work counts, so that rates compare as speeds.
    return flops.full / seconds / static_cast<double>(layout.world()) / 1e12;
  }

  const Cluster& cluster() const { return cluster_; }

 private:
  const Cluster& cluster_;
};

class Figure {
 public:
  Figure(int number, std::vector<PaperCheck>& checks)
      : name_(fmt::format("figure {}", number)), checks_(checks) {}

  // published < ours in the check's columns: `low` must be less than `high`.
  void less(const FigurePoint& low, const FigurePoint& high, const std::string& what) {
    checks_.push_back({.table = name_,
                       .row = fmt::format("{}: {} < {}", what, low.name, high.name),
                       .published = low.rate,
                       .ours = high.rate,
                       .met = low.rate < high.rate});
  }

  void falling(const std::vector<FigurePoint>& points, const std::string& what) {
    for (size_t i = 1; i < points.size(); ++i) less(points[i], points[i - 1], what);
  }

  // The named point is the highest.
  void winner(const std::vector<FigurePoint>& points, const std::string& name, const std::string& what) {
    const auto best =
        std::find_if(points.begin(), points.end(), [&](const FigurePoint& p) { return p.name == name; });
    PHALANX_CHECK(best != points.end(), name);
    for (const FigurePoint& point : points) {
      if (point.name != name) less(point, *best, what);
    }
  }

 private:
  std::string name_;
  std::vector<PaperCheck>& checks_;
};

const PlanLayout kFullRecompute{.recompute = PlanRecompute::kFull};

void figure_7(const Pricer& price, std::vector<PaperCheck>& checks) {
  const FigureConfig& f = figure(7);
  Figure order(7, checks);
  std::vector<FigurePoint> points;
  for (int64_t b = 16; b >= 1; b /= 2) {
    PlanLayout layout = kFullRecompute;
    layout.micro_batch = b;
    layout.global_batch = b;  // one micro-batch a step: the optimizer counts in full
    points.push_back({fmt::format("b {}", b), price.rate(model_of_figure(f, f.layers), layout)});
  }
  order.falling(points, "micro-batch");
}

void figure_11(const Pricer& price, std::vector<PaperCheck>& checks) {
  const FigureConfig& f = figure(11);
  Figure order(11, checks);
  std::vector<std::vector<FigurePoint>> curves;
  for (const int64_t batch : f.batches) {
    std::vector<FigurePoint> points;
    for (int64_t p = 1; p <= 8; p *= 2) {
      PlanLayout layout = kFullRecompute;
      layout.tp = f.tp;
      layout.pp = p;
      layout.global_batch = batch;
      points.push_back({fmt::format("B {} p {}", batch, p), price.rate(model_of_figure(f, 3 * p), layout)});
    }
    order.falling(points, "weak scaling");
    curves.push_back(points);
  }
  for (size_t i = 1; i < curves[0].size(); ++i)
    order.less(curves[0][i], curves[1][i], "a large batch hides the bubble");
}

PlanLayout gpt3_on_96(const FigureConfig& f, int64_t batch, bool interleaved) {
  PlanLayout layout = kFullRecompute;
  layout.tp = 8;
  layout.pp = 12;
  layout.global_batch = batch;
  layout.schedule = interleaved ? "interleaved" : "1f1b";
  layout.chunks = interleaved ? f.layers / 12 / 2 : 1;  // 2 layers a chunk
  return layout;
}

void figure_12(const Pricer& price, std::vector<PaperCheck>& checks) {
  const FigureConfig& f = figure(12);
  Figure order(12, checks);
  double gap = 0;
  for (const int64_t batch : f.batches) {
    const PlanModel model = model_of_figure(f, f.layers);
    const FigurePoint plain{fmt::format("1f1b B {}", batch), price.rate(model, gpt3_on_96(f, batch, false))};
    const FigurePoint chunked{"interleaved", price.rate(model, gpt3_on_96(f, batch, true))};
    order.less(plain, chunked, "schedule");
    const double ratio = chunked.rate / plain.rate;
    if (gap > 0) order.less({fmt::format("gap B {}", batch), ratio}, {"gap before", gap}, "the gap closes");
    gap = ratio;
  }
}

void figure_13(const Pricer& price, std::vector<PaperCheck>& checks) {
  const FigureConfig& f = figure(13);
  Figure order(13, checks);
  for (const int64_t batch : f.batches) {
    std::vector<FigurePoint> points;
    for (int64_t t = 2; t <= 32; t *= 2) {
      PlanLayout layout = kFullRecompute;
      layout.tp = t;
      layout.pp = f.gpus / t;
      layout.global_batch = batch;
      points.push_back(
          {fmt::format("tp {} pp {}", t, f.gpus / t), price.rate(model_of_figure(f, f.layers), layout)});
    }
    order.winner(points, "tp 8 pp 8", fmt::format("B {}", batch));
  }
}

void figures_14_15(const Pricer& price, bool pipeline, std::vector<PaperCheck>& checks) {
  const int number = pipeline ? 14 : 15;
  const FigureConfig& f = figure(number);
  Figure order(number, checks);
  for (const int64_t batch : f.batches) {
    std::vector<FigurePoint> points;
    for (int64_t n = 2; n <= 32; n *= 2) {
      PlanLayout layout = kFullRecompute;
      (pipeline ? layout.pp : layout.tp) = n;
      layout.dp = f.gpus / n;
      layout.global_batch = batch;
      if (batch % layout.dp != 0) continue;
      points.push_back({fmt::format("{} {}", pipeline ? "pp" : "tp", n),
                        price.rate(model_of_figure(f, f.layers), layout)});
    }
    order.falling(points, fmt::format("B {}", batch));
  }
}

void figure_16(const Pricer& price, std::vector<PaperCheck>& checks) {
  const FigureConfig& f = figure(16);
  Figure order(16, checks);
  for (const int64_t batch : f.batches) {
    std::vector<FigurePoint> points;
    for (int64_t b = 1; b <= 8; b *= 2) {
      PlanLayout layout = kFullRecompute;
      layout.tp = f.tp;
      layout.pp = f.pp;
      layout.micro_batch = b;
      layout.global_batch = batch;
      points.push_back({fmt::format("b {}", b), price.rate(model_of_figure(f, f.layers), layout)});
    }
    order.winner(points, "b 2", fmt::format("B {}", batch));
  }
}

// At a small batch recomputation only costs (up to 33 %); it pays because larger batches fit.
void figure_17(const Pricer& price, std::vector<PaperCheck>& checks) {
  const FigureConfig& f = figure(17);
  Figure order(17, checks);
  const PlanModel model = model_of_figure(f, f.layers);
  const auto at = [&](int64_t batch, PlanRecompute policy) {
    PlanLayout layout = kFullRecompute;
    layout.tp = f.tp;
    layout.pp = f.pp;
    layout.global_batch = batch;
    layout.recompute = policy;
    layout.free_outputs = false;
    return layout;
  };
  const auto point = [&](int64_t batch, PlanRecompute policy) {
    return FigurePoint{fmt::format("{} B {}", recompute_name(policy), batch),
                       price.rate(model, at(batch, policy))};
  };
  for (int64_t batch = 1; batch <= 8; batch *= 2) {
    order.less(point(batch, PlanRecompute::kFull), point(batch, PlanRecompute::kNone), "small batch");
  }
  for (const int64_t batch : {128, 256}) {
    order.less(point(8, PlanRecompute::kNone), point(batch, PlanRecompute::kFull), "large batch");
  }
  const auto gigabytes = [&](int64_t batch) {
    const MemoryOptions options{.account = StashAccount::kPaper, .bytes = fp16_bytes()};
    return FigurePoint{
        fmt::format("GB of none at B {}", batch),
        static_cast<double>(plan_memory(model, at(batch, PlanRecompute::kNone), options).peak()) / 1e9};
  };
  const FigurePoint capacity{"GB of a GPU", static_cast<double>(price.cluster().memory_bytes) / 1e9};
  order.less(gigabytes(8), capacity, "fits");
  order.less(capacity, gigabytes(32), "does not fit");
}

void figure_18(const Pricer& price, std::vector<PaperCheck>& checks) {
  const FigureConfig& f = figure(18);
  Figure order(18, checks);
  for (const int64_t batch : f.batches) {
    PlanLayout layout = gpt3_on_96(f, batch, true);
    const PlanModel model = model_of_figure(f, f.layers);
    const FigurePoint on{"on", price.rate(model, layout)};
    layout.scatter_gather = false;
    order.less({fmt::format("off B {}", batch), price.rate(model, layout)}, on, "scatter/gather");
  }
}

}  // namespace

std::vector<PaperCheck> figure_checks(const Cluster& cluster) {
  std::vector<PaperCheck> checks;
  const Pricer price(cluster);
  figure_7(price, checks);
  figure_11(price, checks);
  figure_12(price, checks);
  figure_13(price, checks);
  figures_14_15(price, true, checks);
  figures_14_15(price, false, checks);
  figure_16(price, checks);
  figure_17(price, checks);
  figure_18(price, checks);
  return checks;
}

}  // namespace phalanx
