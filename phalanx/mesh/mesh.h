// File: phalanx/mesh/mesh.h
//
// Purpose: the grid of ranks as a value: named axes, coordinates, groups as sorted lists of ranks.
// Contract: ranks count from 0 in mixed radix, the first axis fastest (order "tp-cp-dp-pp": neighbours in tp are
//   consecutive ranks). The groups of any set of axes partition the world. A mesh is immutable and talks to nobody.
//   An unknown axis or a rank outside the world is a bug and aborts; configs are checked by plan_mesh.
// Example: mesh.group(rank, {"dp", "cp"}) are the ranks that hold the same weights as `rank`.
// Source: Megatron's order string (default there tp-cp-ep-dp-pp).
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace phalanx {

inline constexpr std::array<std::string_view, 4> kMeshAxes = {"tp", "cp", "dp", "pp"};

struct MeshAxis {
  std::string name;
  int size = 1;
};

using RankList = std::vector<int>;
using AxisList = std::vector<std::string_view>;

class Mesh {
 public:
  Mesh() = default;                           // a world of one without axes
  explicit Mesh(std::vector<MeshAxis> axes);  // fastest first, names unique, sizes positive

  int world_size() const { return world_size_; }
  const std::vector<MeshAxis>& axes() const { return axes_; }
  std::string order() const;  // "tp-cp-dp-pp"
  bool has_axis(std::string_view axis) const;
  int size(std::string_view axis) const;
  int size(const AxisList& axes) const;  // the product

  int coordinate(int rank, std::string_view axis) const;
  std::vector<int> coordinates(int rank) const;  // in the order of axes()
  int rank_of(const std::vector<int>& coordinates) const;
  // `rank` moved along one axis.
  int rank_at(int rank, std::string_view axis, int coordinate) const;

  // The ranks that differ from `rank` in nothing but these axes, `rank` included, ascending.
  RankList group(int rank, const AxisList& axes) const;
  // All groups of these axes, ordered by their first rank.
  std::vector<RankList> groups(const AxisList& axes) const;
  // Where `rank` stands in its group.
  int index_in_group(int rank, const AxisList& axes) const;

  // Along "pp".
  bool is_first_stage(int rank) const { return coordinate(rank, "pp") == 0; }
  bool is_last_stage(int rank) const { return coordinate(rank, "pp") == size("pp") - 1; }
  std::optional<int> previous_stage(int rank) const;
  std::optional<int> next_stage(int rank) const;

  // A row an axis: name, size, distance of neighbours, the group of rank 0.
  std::string table() const;

 private:
  size_t axis_index(std::string_view axis) const;
  void check_rank(int rank) const;

  std::vector<MeshAxis> axes_;
  std::vector<int> strides_;  // distance in ranks of neighbours along each axis
  int world_size_ = 1;
};

}  // namespace phalanx
