#include "phalanx/train/rank_threads.h"

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/base/log.h"
#include "phalanx/comm/flight_recorder.h"
#include "phalanx/comm/local.h"
#include "phalanx/mesh/plan_mesh.h"

namespace phalanx {
namespace {

constexpr int64_t kLastOperations = 5;

TrainSummary train_one(const RunConfig& config, std::shared_ptr<const Tokenizer> tokenizer, TrainRank place,
                       InterruptGuard& interrupt, const std::function<void()>& loaded) {
  Trainer trainer(config, std::move(tokenizer), place);
  trainer.load();
  if (place.groups != nullptr) place.groups->world().barrier();
  if (place.groups == nullptr || place.groups->rank() == 0) loaded();
  return trainer.run(interrupt);
}

// What every rank asked of the others last, for whoever looks for the one that is stuck.
void log_last_operations(const std::string& folder, int ranks) {
  for (int rank = 0; rank < ranks; ++rank) {
    const std::string path = fmt::format("{}/rank_{}.flight", folder, rank);
    log_warning(fmt::format("{}\n{}", path, comm::flight_text(comm::read_flight(path), kLastOperations)));
  }
}

}  // namespace

TrainSummary train_all_ranks(const RunConfig& config, std::shared_ptr<const Tokenizer> tokenizer,
                             InterruptGuard& interrupt, const std::function<void()>& loaded) {
  const Mesh mesh = plan_mesh(config.parallel).mesh;
  const int size = mesh.world_size();
  if (size == 1) return train_one(config, std::move(tokenizer), {}, interrupt, loaded);
  const std::string flight = config.runtime.run_dir + "/flight";
  comm::LocalWorld world(size, {.flight_folder = flight});
  RankExchange exchange(size);
  TrainSummary summary;
  const auto body = [&](int rank) {
    RankGroups groups(mesh, rank, [&](const std::string& name, const std::vector<int>& ranks) {
      return world.group(rank, name, ranks);
    });
    const TrainSummary mine =
        train_one(config, tokenizer, {.groups = &groups, .exchange = &exchange}, interrupt, loaded);
    if (rank == 0) summary = mine;
  };
  try {
    comm::run_ranks(world, body);
  } catch (const Error& e) {
    if (e.kind() == ErrorKind::kPeer) log_last_operations(flight, size);
    throw;
  }
  return summary;
}

}  // namespace phalanx
