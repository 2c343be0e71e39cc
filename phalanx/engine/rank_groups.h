// File: phalanx/engine/rank_groups.h
//
// Purpose: the groups that one rank of a mesh talks to.
// Contract: groups are made by the factory of a transport, which gives members with the same name and ranks the same
//   group; a group of one does nothing. All ranks make the same groups in the same order. replicas() makes groups for
//   parameters that several ranks hold (norms under sequence parallelism, key/value heads, tied embeddings) when they
//   are first asked for; each list is asked for by all of its ranks.
// Example: RankGroups groups(mesh, rank, [&](auto name, auto ranks) { return world.group(rank, name, ranks); });
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "phalanx/comm/group.h"
#include "phalanx/comm/timed_group.h"
#include "phalanx/mesh/mesh.h"

namespace phalanx {

using GroupFactory =
    std::function<std::unique_ptr<comm::Group>(const std::string& name, const std::vector<int>& ranks)>;

class RankGroups {
 public:
  RankGroups(const Mesh& mesh, int rank, GroupFactory factory);

  int rank() const { return rank_; }
  const Mesh& mesh() const { return mesh_; }
  bool is_alone() const { return mesh_.world_size() == 1; }
  int coordinate(std::string_view axis) const { return mesh_.coordinate(rank_, axis); }

  comm::Group& tensor() { return *tensor_; }
  comm::Group& pipeline() { return *pipeline_; }
  comm::Group& data() { return *data_; }    // dp x cp: ranks with the same weights
  comm::Group& model() { return *model_; }  // tp x pp: one replica of the model
  comm::Group& world() { return *world_; }
  comm::Group* replicas(const std::vector<int>& ranks);
  // What this rank waited for others so far.
  comm::CommClock& clock() const { return *clock_; }

 private:
  std::unique_ptr<comm::Group> make(const std::string& name, const AxisList& axes);

  Mesh mesh_;
  int rank_ = 0;
  GroupFactory factory_;
  std::unique_ptr<comm::CommClock> clock_ = std::make_unique<comm::CommClock>();
  std::unique_ptr<comm::Group> tensor_, pipeline_, data_, model_, world_;
  std::map<std::vector<int>, std::unique_ptr<comm::Group>> replicas_;
};

// Every group is this rank alone.
std::unique_ptr<RankGroups> single_rank();

}  // namespace phalanx
