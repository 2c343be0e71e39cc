#include "phalanx/plan/search_svg_labels.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace phalanx {
namespace {

constexpr double kAscent = 10;
constexpr double kDescent = 3.5;
constexpr double kAir = 2;       // between two labels
constexpr double kMarker = 5;    // half the side of a point
constexpr double kNamed = 8;     // and of a named one
constexpr double kBeside = 12;   // from a point to the label that stands beside it
constexpr double kNearest = 22;  // from a point to the baseline below it
constexpr double kStep = 4;
constexpr double kInset = 5;  // from the frame
// Costs are in pixels of leader.
constexpr double kPointCost = 20;
constexpr double kLineCost = 150;
constexpr double kLeaderCost = 10;  // a label beside its point needs none
constexpr double kCrossedCost = 6;  // a point under the leader
constexpr double kHidden = 1e5;
constexpr size_t kMostLooks = 2000000;

LabelBox around(const PlotPoint& p, double half) {
  return {p.x - half, p.y - half, p.x + half, p.y + half};
}

LabelBox leader_box(const PlotPoint& point, double to) {
  return {point.x - 1.5, std::min(point.y, to), point.x + 1.5, std::max(point.y, to)};
}

struct Place {
  PlacedLabel label;
  LabelBox box, leader;
  double cost = 0;
};

class Placer {
 public:
  Placer(const std::vector<LabelWish>& wishes, const LabelScene& scene) : wishes_(wishes), scene_(scene) {
    for (size_t i = 0; i + 1 < scene.line.size(); ++i) {
      const PlotPoint& a = scene.line[i];
      const PlotPoint& b = scene.line[i + 1];
      pieces_.push_back(
          {std::min(a.x, b.x) - 1, std::min(a.y, b.y) - 1, std::max(a.x, b.x) + 1, std::max(a.y, b.y) + 1});
    }
    for (size_t i = 0; i < wishes.size(); ++i) places_.push_back(places_of(i));
    order_.resize(wishes.size());
    std::iota(order_.begin(), order_.end(), size_t{0});
    std::stable_sort(order_.begin(), order_.end(),
                     [&](size_t a, size_t b) { return wishes[a].point.x > wishes[b].point.x; });
  }

  std::vector<PlacedLabel> best() {
    at_least_.assign(wishes_.size() + 1, 0);
    for (size_t i = wishes_.size(); i-- > 0;) {
      const std::vector<Place>& places = places_[order_[i]];
      at_least_[i] = at_least_[i + 1] + (places.empty() ? kHidden : places[0].cost);
    }
    chosen_.assign(wishes_.size(), nullptr);
    best_ = chosen_;
    stairs();
    search(0, 0);

    std::vector<PlacedLabel> labels;
    for (const Place* place : best_) labels.push_back(place == nullptr ? PlacedLabel{} : place->label);
    return labels;
  }

 private:
  // Where a label may stand as far as the other labels do not matter, the cheapest first.
  std::vector<Place> places_of(size_t i) const {
    const PlotPoint& point = wishes_[i].point;
    const double width = wishes_[i].width;
    const LabelBox& frame = scene_.frame;
    std::vector<Place> places;
    add(i, {.shown = true, .left = point.x - kBeside - width, .baseline = point.y + 4}, places);
    add(i, {.shown = true, .left = point.x + kBeside, .baseline = point.y + 4}, places);
    for (double way = kNearest; way < frame.bottom - frame.top; way += kStep) {
      for (const bool below : {true, false}) {
        const double baseline = below ? point.y + way : point.y - way + kAscent;
        const double leader = below ? baseline - kAscent - 1 : baseline + kDescent;
        for (const double left : {point.x + 4, point.x - 6, point.x - 4 - width, point.x + 6 - width,
                                  point.x - width / 2, frame.left + kInset, frame.right - kInset - width}) {
          if (point.x < left - 5 || point.x > left + width + 5) continue;
          add(i, {.shown = true, .left = left, .baseline = baseline, .has_leader = true, .leader_y = leader},
              places);
        }
      }
    }
    std::stable_sort(places.begin(), places.end(),
                     [](const Place& a, const Place& b) { return a.cost < b.cost; });
    return places;
  }

  void add(size_t i, const PlacedLabel& label, std::vector<Place>& places) const {
    const PlotPoint& point = wishes_[i].point;
    const LabelBox& frame = scene_.frame;
    Place place{.label = label, .box = label_box(label, wishes_[i].width), .leader = {}, .cost = 0};
    const LabelBox& box = place.box;
    if (box.left < frame.left + 2 || box.right > frame.right - 2) return;
    if (box.top < frame.top + 1 || box.bottom > frame.bottom - 1) return;
    for (const LabelWish& other : wishes_) {
      if (overlap(box, around(other.point, kNamed))) return;
    }
    if (label.has_leader) {
      place.leader = leader_box(point, label.leader_y);
      place.cost += kLeaderCost + std::abs(label.leader_y - point.y);
    }
    for (const PlotPoint& other : scene_.points) {
      const LabelBox marker = around(other, kMarker - 1);
      if (overlap(box, marker)) place.cost += kPointCost;
      if (label.has_leader && overlap(place.leader, marker)) place.cost += kCrossedCost;
    }
    for (const LabelBox& piece : pieces_) {
      if (overlap(box, piece)) place.cost += kLineCost;
    }
    places.push_back(place);
  }

  bool fits(const Place& place) const {
    const LabelBox& box = place.box;
    const LabelBox wide{box.left - kAir, box.top - kAir, box.right + kAir, box.bottom + kAir};
    return std::none_of(chosen_.begin(), chosen_.end(), [&](const Place* other) {
      return other != nullptr &&
             (overlap(wide, other->box) || overlap(wide, other->leader) || overlap(place.leader, other->box));
    });
  }

  // What often is good and hard to find step by step: each name to the right of its leader and lower than the last.
  void stairs() {
    double cost = 0, lowest = 0;
    for (const size_t label : order_) {
      const std::vector<Place>& places = places_[label];
      const PlotPoint& point = wishes_[label].point;
      const auto is_stair = [&](const Place& place) {
        const bool lower = place.label.leader_y > point.y && place.label.baseline > lowest;
        return lower && (place.label.left > point.x || lowest == 0) && fits(place);
      };
      auto found = std::find_if(places.begin(), places.end(), is_stair);
      if (found != places.end()) {
        lowest = found->label.baseline;
      } else {
        found = std::find_if(places.begin(), places.end(), [&](const Place& place) { return fits(place); });
      }
      cost += found == places.end() ? kHidden : found->cost;
      if (found != places.end()) chosen_[label] = &*found;
    }
    least_ = cost;
    best_ = chosen_;
    chosen_.assign(wishes_.size(), nullptr);
  }

  // Branch and bound: the first descent is greedy, then as many others as the looks allow.
  void search(size_t i, double cost) {
    if (i == wishes_.size()) {
      if (cost >= least_) return;
      least_ = cost;
      best_ = chosen_;
      return;
    }
    const size_t label = order_[i];
    for (const Place& place : places_[label]) {
      if (cost + place.cost + at_least_[i + 1] >= least_ || done()) break;
      ++looks_;
      if (!fits(place)) continue;
      chosen_[label] = &place;
      search(i + 1, cost + place.cost);
      chosen_[label] = nullptr;
    }
    if (cost + kHidden + at_least_[i + 1] < least_ && !done()) search(i + 1, cost + kHidden);
  }

  bool done() const { return looks_ >= kMostLooks; }

  const std::vector<LabelWish>& wishes_;
  const LabelScene& scene_;
  std::vector<LabelBox> pieces_;
  std::vector<std::vector<Place>> places_;
  std::vector<size_t> order_;     // from right to left
  std::vector<double> at_least_;  // what the labels from the i-th of order_ on cost if no other were there
  std::vector<const Place*> chosen_, best_;
  double least_ = std::numeric_limits<double>::infinity();
  size_t looks_ = 0;
};

}  // namespace

bool overlap(const LabelBox& a, const LabelBox& b) {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}

LabelBox label_box(const PlacedLabel& label, double width) {
  return {label.left, label.baseline - kAscent, label.left + width, label.baseline + kDescent};
}

std::vector<PlacedLabel> place_labels(const std::vector<LabelWish>& wishes, const LabelScene& scene) {
  return Placer(wishes, scene).best();
}

}  // namespace phalanx
