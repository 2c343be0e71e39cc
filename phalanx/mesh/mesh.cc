#include "phalanx/mesh/mesh.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "phalanx/base/error.h"

namespace phalanx {

Mesh::Mesh(std::vector<MeshAxis> axes) : axes_(std::move(axes)) {
  for (const MeshAxis& axis : axes_) {
    const auto same = [&](const MeshAxis& other) { return other.name == axis.name; };
    PHALANX_CHECK(std::count_if(axes_.begin(), axes_.end(), same) == 1, "axis given twice: " + axis.name);
    PHALANX_CHECK(axis.size >= 1, fmt::format("axis {} of size {}", axis.name, axis.size));
    strides_.push_back(world_size_);
    PHALANX_CHECK(!__builtin_mul_overflow(world_size_, axis.size, &world_size_),
                  "more ranks than an int counts");
  }
}

std::string Mesh::order() const {
  std::string text;
  for (const MeshAxis& axis : axes_) text += (text.empty() ? "" : "-") + axis.name;
  return text;
}

bool Mesh::has_axis(std::string_view axis) const {
  return std::any_of(axes_.begin(), axes_.end(), [&](const MeshAxis& a) { return a.name == axis; });
}

size_t Mesh::axis_index(std::string_view axis) const {
  for (size_t i = 0; i < axes_.size(); ++i) {
    if (axes_[i].name == axis) return i;
  }
  check_failed(__FILE__, __LINE__, "known axis", fmt::format("mesh {} has no axis '{}'", order(), axis));
}

void Mesh::check_rank(int rank) const {
  PHALANX_CHECK(rank >= 0 && rank < world_size_, fmt::format("rank {} in a world of {}", rank, world_size_));
}

int Mesh::size(std::string_view axis) const {
  return axes_[axis_index(axis)].size;
}

int Mesh::size(const AxisList& axes) const {
  int product = 1;
  for (const std::string_view axis : axes) product *= size(axis);
  return product;
}

int Mesh::coordinate(int rank, std::string_view axis) const {
  check_rank(rank);
  const size_t i = axis_index(axis);
  return rank / strides_[i] % axes_[i].size;
}

std::vector<int> Mesh::coordinates(int rank) const {
  check_rank(rank);
  std::vector<int> result;
  for (size_t i = 0; i < axes_.size(); ++i) result.push_back(rank / strides_[i] % axes_[i].size);
  return result;
}

int Mesh::rank_of(const std::vector<int>& coordinates) const {
  PHALANX_CHECK(coordinates.size() == axes_.size(), "one coordinate an axis");
  int rank = 0;
  for (size_t i = 0; i < axes_.size(); ++i) {
    PHALANX_CHECK(
        coordinates[i] >= 0 && coordinates[i] < axes_[i].size,
        fmt::format("coordinate {} on axis {} of {}", coordinates[i], axes_[i].name, axes_[i].size));
    rank += coordinates[i] * strides_[i];
  }
  return rank;
}

int Mesh::rank_at(int rank, std::string_view axis, int coordinate) const {
  std::vector<int> moved = coordinates(rank);
  moved[axis_index(axis)] = coordinate;
  return rank_of(moved);
}

RankList Mesh::group(int rank, const AxisList& axes) const {
  check_rank(rank);
  RankList members = {rank};
  for (const std::string_view axis : axes) {
    const size_t i = axis_index(axis);
    PHALANX_CHECK(std::count(axes.begin(), axes.end(), axis) == 1, "axis given twice: " + axes_[i].name);
    RankList wider;
    for (const int member : members) {
      const int start = member - member / strides_[i] % axes_[i].size * strides_[i];
      for (int c = 0; c < axes_[i].size; ++c) wider.push_back(start + c * strides_[i]);
    }
    members = std::move(wider);
  }
  std::sort(members.begin(), members.end());
  return members;
}

std::vector<RankList> Mesh::groups(const AxisList& axes) const {
  std::vector<RankList> result;
  for (int rank = 0; rank < world_size_; ++rank) {
    const bool first = std::all_of(axes.begin(), axes.end(),
                                   [&](std::string_view axis) { return coordinate(rank, axis) == 0; });
    if (first) result.push_back(group(rank, axes));
  }
  return result;
}

int Mesh::index_in_group(int rank, const AxisList& axes) const {
  const RankList members = group(rank, axes);
  return static_cast<int>(std::lower_bound(members.begin(), members.end(), rank) - members.begin());
}

std::optional<int> Mesh::previous_stage(int rank) const {
  const int stage = coordinate(rank, "pp");
  if (stage == 0) return std::nullopt;
  return rank_at(rank, "pp", stage - 1);
}

std::optional<int> Mesh::next_stage(int rank) const {
  const int stage = coordinate(rank, "pp");
  if (stage + 1 == size("pp")) return std::nullopt;
  return rank_at(rank, "pp", stage + 1);
}

std::string Mesh::table() const {
  std::string text =
      fmt::format("{} ranks, order {}\naxis  size  stride  group of rank 0\n", world_size_, order());
  for (size_t i = 0; i < axes_.size(); ++i) {
    RankList members = group(0, {axes_[i].name});
    const bool cut = members.size() > 8;
    if (cut) members.resize(8);
    text += fmt::format("{:<4}  {:>4}  {:>6}  {}{}\n", axes_[i].name, axes_[i].size, strides_[i],
                        fmt::join(members, " "), cut ? " ..." : "");
  }
  return text;
}

}  // namespace phalanx
