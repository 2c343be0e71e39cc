// File: phalanx/nn/test_layouts.h
//
// Purpose: for tests only: a module of the tiny model over a tensor group, and the same module on one rank. Weights are cut
//   from the same logical tensors; what comes out is put together again and compared.
// Contract: two micro-batches are in flight at once (forward, forward, backward, backward), so that what one leaves
//   behind meets the other. Gradients of partial segments are summed over exactly the replicas that shard/parameter_layout
//   names, identical ones must be the same bits on each.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "phalanx/nn/test_groups.h"
#include "phalanx/nn/test_reference.h"
#include "phalanx/shard/parameter_layout.h"

namespace phalanx::nn::testing {

struct Layout {
  int ranks = 1;
  bool sequence_parallel = false;
  bool strict = true;  // false: operations run by themselves, as in a real run
};
const std::vector<Layout>& split_layouts();  // tp 2 and 4, each with and without sequence parallelism

// The parameters of `whole` that one rank of the group holds.
class RankModel {
 public:
  RankModel(TestModel& whole, comm::Group& group, bool sequence_parallel);
  BuildContext context();
  Parameter* find(const std::string& name);
  const ParameterSlot& slot(const std::string& name) const { return slots_.at(name); }

 private:
  TestModel& whole_;
  comm::Group& group_;
  bool sequence_parallel_;
  kernels::Gemm gemm_;
  std::map<std::string, ParameterSlot> slots_;
  std::map<std::string, std::unique_ptr<Parameter>> parameters_;
};

// A copy of `batch` as this rank of the layout sees it.
Batch batch_of_rank(Batch batch, const Layout& layout, int rank);

struct Part {
  std::function<std::vector<ModulePtr>(const BuildContext&)> build;
  bool reads_stream = true;   // false: begins with the embedding
  bool writes_stream = true;  // false: ends with the head
};
Part layer_part(char kind, int index = 0);
Part model_part(const ModelConfig& config);  // embedding, layers, final norm, head

// What two micro-batches of a part gave, whole.
struct PartRun {
  std::vector<Tensor> outputs;
  std::vector<Tensor> input_grads;  // undefined where the part begins with the embedding
  Values weight_grads;              // by fused name, of the whole shape; padding left out
};
PartRun run_on_one(TestModel& model, const std::vector<Batch>& batches, const Part& part);
PartRun run_split(TestModel& model, const std::vector<Batch>& batches, const Part& part, const Layout& layout,
                  WeightGrads::Mode mode = WeightGrads::Mode::kNow);

// "" when all of `got` equals `want` to `tolerance` relative.
std::string difference(const PartRun& got, const PartRun& want, double tolerance = 1e-12);

// Runs `part` of `config` over every layout and both modes of weight gradients; "" or what differs from one rank.
std::string layouts_mismatch(const ModelConfig& config, const Part& part, bool documents = false);

// Tiny, with sizes that four ranks divide: 4 heads of 8, FFN 12, rows of 6, 11 tokens (over 16 stored rows, of which the
// last rank of four holds only padding).
ModelConfig split_config();

}  // namespace phalanx::nn::testing
