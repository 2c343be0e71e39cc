// Communication beside computation, measured: with an injected delay against what overlap allows at best, and on the real
// transport by the flight recorder. Slow tier: they time things, so nothing else should be running.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <mutex>

#include "phalanx/base/clock.h"
#include "phalanx/base/fs.h"
#include "phalanx/base/philox.h"
#include "phalanx/comm/delay_group.h"
#include "phalanx/comm/flight_recorder.h"
#include "phalanx/comm/local.h"
#include "phalanx/engine/train_step.h"
#include "phalanx/mesh/plan_mesh.h"
#include "phalanx/train/rank_layout.h"

namespace phalanx {
namespace {

constexpr int64_t kBucket = 400'000;  // elements
constexpr int kSteps = 5;

RunConfig config_of(int64_t tensor, int64_t data) {
  RunConfig c;
  c.model.num_layers = 4;
  c.model.hidden_size = 256;
  c.model.num_attention_heads = 4;
  c.model.vocab_size = 512;
  c.model.seq_length = 128;
  finalize(c.model);
  validate(c.model);
  c.parallel.tensor = tensor;
  c.parallel.data = data;
  c.parallel = plan_mesh(c.parallel).config;
  return c;
}

std::vector<HostBatch> batch_of(const RunConfig& c, int64_t data_rank) {
  HostBatch host;
  host.num_samples = 4;
  host.first_sample = data_rank * host.num_samples;
  const RandomKey key{.seed = 1, .purpose = RandomPurpose::kMockData, .step = 1};
  for (int64_t i = 0; i < host.num_samples * c.model.seq_length; ++i) {
    host.tokens.push_back(philox_u32(key, static_cast<uint64_t>(i)) % 512);
    host.labels.push_back(philox_u32(key, static_cast<uint64_t>(i + 1)) % 512);
    host.label_mask.push_back(1);
    host.position.push_back(i % c.model.seq_length);
  }
  return {host};
}

// When the first large operation of a step began.
class FirstStart : public comm::WrappedGroup {
 public:
  FirstStart(std::unique_ptr<comm::Group> inner, double* first)
      : WrappedGroup(std::move(inner)), first_(first) {}

 protected:
  comm::WorkPtr around(const Asked& asked, const std::function<comm::WorkPtr()>& start) override {
    if (asked.bytes > 1 << 16 && *first_ == 0) *first_ = monotonic_seconds();
    return start();
  }

 private:
  double* first_;
};

struct Measured {
  double seconds = 1e30;    // of the best step
  double first_bucket = 0;  // after its begin
  std::vector<std::pair<double, double>> waits;
};

struct Transport {
  double seconds_per_byte = 0;
  std::string flight_folder;
};

// Rank 0's best step; its waits are those of all steps.
Measured measure(const RunConfig& config, const Transport& transport) {
  const Mesh mesh = plan_mesh(config.parallel).mesh;
  comm::LocalWorld world(mesh.world_size(),
                         {.threads_per_rank = 1, .flight_folder = transport.flight_folder});
  const auto board = std::make_shared<comm::DelayBoard>();
  Measured best;
  comm::run_ranks(world, [&](int rank) {
    double first = 0;
    RankGroups groups(mesh, rank, [&](const std::string& name, const std::vector<int>& ranks) {
      std::unique_ptr<comm::Group> group = world.group(rank, name, ranks);
      if (name != "dp" || group->size() == 1 || transport.seconds_per_byte == 0) return group;
      group = std::make_unique<comm::DelayGroup>(std::move(group), board,
                                                 comm::Delay{.seconds_per_byte = transport.seconds_per_byte});
      return std::unique_ptr<comm::Group>(std::make_unique<FirstStart>(std::move(group), &first));
    });
    const kernels::Gemm gemm;
    Model model(config.model, {.part = make_model_part(config, mesh, rank)}, gemm, groups.tensor());
    Optimizer optimizer(model.parameters(), config.optim, at::kFloat,
                        {.data = &groups.data(),
                         .model = &groups.model(),
                         .group_of = [&](const std::vector<int>& ranks) { return groups.replicas(ranks); },
                         .bucket_elements = kBucket});
    const std::vector<HostBatch> batches = batch_of(config, groups.coordinate("dp"));
    for (int step = 0; step < kSteps; ++step) {
      groups.world().barrier();
      groups.clock().keeps_waits = step > 0;
      first = 0;
      const double begin = monotonic_seconds();
      run_train_step(model, optimizer, batches, {.step = 1, .lr = 1e-3}, {.groups = &groups});
      const double seconds = monotonic_seconds() - begin;
      if (rank != 0 || step == 0 || seconds >= best.seconds) continue;
      best.seconds = seconds;
      best.first_bucket = first - begin;
    }
    if (rank == 0) best.waits = groups.clock().waits;
  });
  return best;
}

TEST(OverlapSlow, BucketsTravelBesideTheBackwardPass) {
  const RunConfig config = config_of(1, 2);
  const double compute = measure(config, {}).seconds;
  for (const double share : {0.5, 1.0}) {
    // One bucket takes this share of a step to arrive.
    const double delay = share * compute;
    const Measured with = measure(config, {.seconds_per_byte = delay / (4.0 * kBucket)});
    const double allowed = with.first_bucket + std::max(compute - with.first_bucket, delay) + delay;
    std::printf(
        "dp: compute %.0f ms, a bucket %.0f ms: step %.0f ms, first bucket at %.0f ms, allowed %.0f ms: %.2f x\n",
        1e3 * compute, 1e3 * delay, 1e3 * with.seconds, 1e3 * with.first_bucket, 1e3 * allowed,
        with.seconds / allowed);
    EXPECT_LE(with.seconds, 1.10 * allowed);
  }
}

// The part of [begin, end) that lies in none of the waits.
double outside(double begin, double end, const std::vector<std::pair<double, double>>& waits) {
  double left = end - begin;
  for (const auto& [from, to] : waits) left -= std::max(0.0, std::min(end, to) - std::max(begin, from));
  return left;
}

// Share of rank 0's communication, from the moment when all ranks had come until it was done, during which it computed.
double hidden_share(const RunConfig& config, const std::string& group) {
  const TemporaryDirectory folder;
  const Measured run = measure(config, {.flight_folder = folder.path()});
  double all = 0, hidden = 0;
  for (const comm::FlightRecord& record : comm::read_flight(folder.path() + "/rank_0.flight").records) {
    const double begin = static_cast<double>(record.started_ns) * 1e-9;
    const double end = static_cast<double>(record.done_ns) * 1e-9;
    if (record.group != group || record.done_ns == 0 || run.waits.empty() || begin < run.waits.front().first)
      continue;
    all += end - begin;
    hidden += outside(begin, end, run.waits);
  }
  std::printf("%s: %.1f ms of communication, %.0f %% of it inside computation\n", group.c_str(), 1e3 * all,
              100 * hidden / all);
  return hidden / all;
}

TEST(OverlapSlow, MostDataParallelTrafficIsHidden) {
  EXPECT_GE(hidden_share(config_of(1, 2), "dp"), 0.70);
}

TEST(OverlapSlow, MostTensorParallelTrafficIsHidden) {
  EXPECT_GE(hidden_share(config_of(2, 1), "tp"), 0.70);
}

}  // namespace
}  // namespace phalanx
