#include "phalanx/engine/rank_groups.h"

#include "phalanx/base/error.h"

namespace phalanx {

RankGroups::RankGroups(const Mesh& mesh, int rank, GroupFactory factory)
    : mesh_(mesh), rank_(rank), factory_(std::move(factory)) {
  tensor_ = make("tp", {"tp"});
  pipeline_ = make("pp", {"pp"});
  data_ = make("dp", {"dp", "cp"});
  model_ = make("model", {"tp", "pp"});
  world_ = make("world", {"tp", "cp", "dp", "pp"});
}

std::unique_ptr<comm::Group> RankGroups::make(const std::string& name, const AxisList& axes) {
  return comm::make_timed_group(factory_(name, mesh_.group(rank_, axes)), clock_.get());
}

comm::Group* RankGroups::replicas(const std::vector<int>& ranks) {
  std::unique_ptr<comm::Group>& group = replicas_[ranks];
  if (!group) group = comm::make_timed_group(factory_("replicas", ranks), clock_.get());
  return group.get();
}

std::unique_ptr<RankGroups> single_rank() {
  return std::make_unique<RankGroups>(
      Mesh({{"tp", 1}, {"cp", 1}, {"dp", 1}, {"pp", 1}}), 0,
      [](const std::string& name, const std::vector<int>&) { return comm::make_self_group(name); });
}

}  // namespace phalanx
