#include "phalanx/train/rank_threads.h"

#include "phalanx/comm/local.h"
#include "phalanx/mesh/plan_mesh.h"

namespace phalanx {
namespace {

TrainSummary train_one(const RunConfig& config, std::shared_ptr<const Tokenizer> tokenizer, TrainRank place,
                       InterruptGuard& interrupt, const std::function<void()>& loaded) {
  Trainer trainer(config, std::move(tokenizer), place);
  trainer.load();
  if (place.groups != nullptr) place.groups->world().barrier();
  if (place.groups == nullptr || place.groups->rank() == 0) loaded();
  return trainer.run(interrupt);
}

}  // namespace

TrainSummary train_all_ranks(const RunConfig& config, std::shared_ptr<const Tokenizer> tokenizer,
                             InterruptGuard& interrupt, const std::function<void()>& loaded) {
  const Mesh mesh = plan_mesh(config.parallel).mesh;
  const int size = mesh.world_size();
  if (size == 1) return train_one(config, std::move(tokenizer), {}, interrupt, loaded);
  comm::LocalWorld world(size, {});
  RankExchange exchange(size);
  TrainSummary summary;
  comm::run_ranks(world, [&](int rank) {
    RankGroups groups(mesh, rank, [&](const std::string& name, const std::vector<int>& ranks) {
      return world.group(rank, name, ranks);
    });
    const TrainSummary mine =
        train_one(config, tokenizer, {.groups = &groups, .exchange = &exchange}, interrupt, loaded);
    if (rank == 0) summary = mine;
  });
  return summary;
}

}  // namespace phalanx
