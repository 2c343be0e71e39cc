// Runs modules over tensor groups and puts the results together.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <cmath>
#include <ranges>

#include "phalanx/nn/test_layouts.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::nn::testing {

using phalanx::testing::random_tensor;
using phalanx::testing::relative_error;

const std::vector<Layout>& split_layouts() {
  static const std::vector<Layout> all = {
      {2, false}, {2, true}, {4, false}, {4, true}, {4, true, /*strict=*/false}};
  return all;
}

ModelConfig split_config() {
  ModelConfig config = tiny_config();
  config.ffn_hidden_size = 12;
  config.seq_length = 6;
  return config;
}

namespace {

// Where the logical part begins in the whole fused tensor.
std::vector<int64_t> first_rows(const FusedParameter& fused) {
  std::vector<int64_t> rows = {0};
  for (const LogicalTensor& part : fused.parts) rows.push_back(rows.back() + part.shape[0]);
  return rows;
}

Box shifted(Box box, int64_t rows) {
  box.begin[0] += rows;
  box.end[0] += rows;
  return box;
}

std::vector<int> ranks_up_to(int n) {
  std::vector<int> ranks;
  for (int r = 0; r < n; ++r) ranks.push_back(r);
  return ranks;
}

}  // namespace

RankModel::RankModel(TestModel& whole, comm::Group& group, bool sequence_parallel)
    : whole_(whole), group_(group), sequence_parallel_(sequence_parallel) {
  const ParameterPlace place{.tp = {group.rank(), group.size()},
                             .sequence_parallel = sequence_parallel,
                             .tp_ranks = ranks_up_to(group.size())};
  for (const FusedParameter& fused : make_parameter_table(whole.config()).parameters) {
    const ParameterSlot slot = parameter_slot(whole.config(), fused, place);
    const Tensor& from = whole.find(fused.name)->data;
    auto parameter = std::make_unique<Parameter>();
    parameter->name = fused.name;
    parameter->data = at::zeros(slot.shape, from.options());
    parameter->main_grad = at::full(slot.shape, std::nan(""), whole.find(fused.name)->main_grad.options());
    const std::vector<int64_t> rows = first_rows(fused);
    for (size_t i = 0; i < slot.segments.size(); ++i) {
      const SlotSegment& s = slot.segments[i];
      view_of(parameter->data, s.local_box).copy_(view_of(from, shifted(s.global_box, rows[i])));
    }
    slots_[fused.name] = slot;
    parameters_[fused.name] = std::move(parameter);
  }
}

BuildContext RankModel::context() {
  return {whole_.config(), [this](const std::string& n) { return find(n); }, gemm_, group_,
          sequence_parallel_};
}

Parameter* RankModel::find(const std::string& name) {
  const auto it = parameters_.find(name);
  return it == parameters_.end() ? nullptr : it->second.get();
}

Batch batch_of_rank(Batch batch, const Layout& layout, int rank) {
  if (!layout.sequence_parallel) return batch;
  batch.row_shards = layout.ranks;
  batch.row_shard = rank;
  return batch;
}

Part layer_part(char kind, int index) {
  return {.build = [kind, index](const BuildContext& context) {
    std::vector<ModulePtr> modules;
    modules.push_back(make_layer(kind, index, context));
    return modules;
  }};
}

Part model_part(const ModelConfig& config) {
  return {.build =
              [pattern = config.pattern](const BuildContext& context) {
                std::vector<ModulePtr> modules;
                modules.push_back(make_embedding(context));
                for (size_t i = 0; i < pattern.size(); ++i) {
                  modules.push_back(make_layer(pattern[i], static_cast<int>(i), context));
                }
                modules.push_back(make_final_norm(context));
                modules.push_back(make_head(context));
                return modules;
              },
          .reads_stream = false,
          .writes_stream = false};
}

namespace {

// One rank's share: both micro-batches forward, then both backward.
PartRun run_modules(std::vector<ModulePtr>& modules, const std::vector<Batch>& batches, const Part& part,
                    int64_t hidden, WeightGrads& grads) {
  const c10::NoGradGuard no_grad;
  PartRun run;
  Side side;
  std::vector<Stash> stashes(batches.size());
  for (size_t m = 0; m < batches.size(); ++m) {
    const Batch& batch = batches[m];
    const Tensor all = random_tensor({batch.num_rows(), hidden}, 77 + m);
    Tensor x = part.reads_stream ? batch.local(all).clone() : Tensor();
    const Tensor before = x.defined() ? x.clone() : x;
    const Tensor given = x;
    for (const ModulePtr& module : modules) x = module->forward(x, batch, side, stashes[m]);
    EXPECT_TRUE(!given.defined() || given.equal(before)) << "x was changed";
    run.outputs.push_back(x);
  }
  for (size_t m = 0; m < batches.size(); ++m) {
    const Batch& batch = batches[m];
    const Tensor all = random_tensor({batch.num_rows(), hidden}, 87 + m);
    Tensor dy = part.writes_stream ? batch.local(all).clone() : batch.loss_weight;
    const Tensor before = dy.clone();
    const Tensor given = dy;
    for (const ModulePtr& module : modules | std::views::reverse) {
      dy = module->backward(dy, batch, side, stashes[m], grads);
    }
    EXPECT_TRUE(given.equal(before)) << "dy was changed";
    EXPECT_TRUE(stashes[m].empty());
    run.input_grads.push_back(dy);
  }
  grads.run_deferred();
  return run;
}

// Rows of shards below each other; what is whole on every rank must be the same bits there.
Tensor join(const std::vector<PartRun>& runs, std::vector<Tensor> PartRun::*field, size_t m, bool sharded) {
  std::vector<Tensor> pieces;
  for (const PartRun& run : runs) pieces.push_back((run.*field)[m]);
  if (!pieces[0].defined()) return {};
  if (sharded) return at::cat(pieces);
  for (const Tensor& piece : pieces) EXPECT_TRUE(piece.equal(pieces[0])) << "ranks differ";
  return pieces[0];
}

struct Holder {
  int rank;
  const SlotSegment* segment;
  Tensor grad;
};

// One box of a logical tensor, from all that hold it.
Tensor gradient_of_box(const std::vector<Holder>& holders) {
  std::vector<int> ranks;
  for (const Holder& holder : holders) ranks.push_back(holder.rank);
  Tensor sum = at::zeros_like(holders[0].grad);
  for (size_t i = 0; i < holders.size(); ++i) {
    const SlotSegment& segment = *holders[i].segment;
    EXPECT_EQ(segment.replicas, ranks) << segment.name;
    EXPECT_EQ(segment.replica, static_cast<int>(i)) << segment.name;
    EXPECT_EQ(segment.partial, holders[0].segment->partial) << segment.name;
    if (segment.partial) {
      sum.add_(holders[i].grad);
    } else {
      EXPECT_TRUE(holders[i].grad.equal(holders[0].grad)) << segment.name << " is not identical";
    }
  }
  return holders[0].segment->partial ? sum : holders[0].grad;
}

void expect_padding_is_zero(const Parameter& parameter, const ParameterSlot& slot) {
  Tensor rest = parameter.main_grad.clone();
  for (const SlotSegment& segment : slot.segments) view_of(rest, segment.local_box).zero_();
  EXPECT_TRUE(rest.eq(0.0).all().item<bool>()) << "padding of " << parameter.name << " has a gradient";
}

Values gather_gradients(TestModel& whole, std::vector<std::unique_ptr<RankModel>>& ranks) {
  Values result;
  for (const FusedParameter& fused : make_parameter_table(whole.config()).parameters) {
    const bool used = ranks[0]->find(fused.name)->has_grad;
    for (const auto& rank : ranks) EXPECT_EQ(rank->find(fused.name)->has_grad, used) << fused.name;
    if (!used) continue;
    Tensor grad = at::full_like(whole.find(fused.name)->main_grad, std::nan(""));
    const std::vector<int64_t> rows = first_rows(fused);
    for (size_t i = 0; i < fused.parts.size(); ++i) {
      std::map<Shape, std::vector<Holder>> boxes;
      for (size_t r = 0; r < ranks.size(); ++r) {
        const SlotSegment& s = ranks[r]->slot(fused.name).segments[i];
        if (s.global_box.num_elements() == 0) continue;
        const Tensor piece = view_of(ranks[r]->find(fused.name)->main_grad, s.local_box);
        boxes[s.global_box.begin].push_back({static_cast<int>(r), &s, piece});
      }
      for (const auto& [begin, holders] : boxes) {
        view_of(grad, shifted(holders[0].segment->global_box, rows[i])).copy_(gradient_of_box(holders));
      }
    }
    for (const auto& rank : ranks) {
      expect_padding_is_zero(*rank->find(fused.name), rank->slot(fused.name));
    }
    result[fused.name] = grad.narrow(0, 0, rows.back());  // a piece that nobody holds stays NaN
  }
  return result;
}

}  // namespace

PartRun run_on_one(TestModel& model, const std::vector<Batch>& batches, const Part& part) {
  model.forget_gradients();
  std::vector<ModulePtr> modules = part.build(model.context());
  WeightGrads grads;
  PartRun run = run_modules(modules, batches, part, model.config().hidden_size, grads);
  for (const FusedParameter& fused : make_parameter_table(model.config()).parameters) {
    const Parameter& parameter = *model.find(fused.name);
    if (parameter.has_grad) {
      run.weight_grads[fused.name] = parameter.main_grad.narrow(0, 0, first_rows(fused).back());
    }
  }
  return run;
}

PartRun run_split(TestModel& model, const std::vector<Batch>& batches, const Part& part, const Layout& layout,
                  WeightGrads::Mode mode) {
  const auto n = static_cast<size_t>(layout.ranks);
  std::vector<std::unique_ptr<RankModel>> ranks(n);
  std::vector<PartRun> runs(n);
  on_ranks(layout.ranks, [&](StrictGroup& strict) {
    comm::Group& group = layout.strict ? strict : strict.inner();
    const auto r = static_cast<size_t>(group.rank());
    ranks[r] = std::make_unique<RankModel>(model, group, layout.sequence_parallel);
    std::vector<ModulePtr> modules = part.build(ranks[r]->context());
    std::vector<Batch> mine;
    for (const Batch& batch : batches) mine.push_back(batch_of_rank(batch, layout, group.rank()));
    WeightGrads grads(mode);
    runs[r] = run_modules(modules, mine, part, model.config().hidden_size, grads);
    EXPECT_EQ(grads.deferred_bytes(), 0);
  });
  PartRun result;
  for (size_t m = 0; m < batches.size(); ++m) {
    const bool sharded = layout.sequence_parallel;
    result.outputs.push_back(join(runs, &PartRun::outputs, m, sharded && part.writes_stream));
    result.input_grads.push_back(join(runs, &PartRun::input_grads, m, sharded && part.reads_stream));
  }
  result.weight_grads = gather_gradients(model, ranks);
  return result;
}

std::string difference(const PartRun& got, const PartRun& want, double tolerance) {
  std::string report;
  const auto compare = [&report, tolerance](const std::string& what, const Tensor& a, const Tensor& b) {
    if (a.defined() != b.defined() || (a.defined() && a.sizes() != b.sizes())) {
      report += what + " has another shape; ";
      return;
    }
    const double error = a.defined() ? relative_error(a, b) : 0.0;
    if (!(error <= tolerance)) report += fmt::format("{} is off by {:.1e}; ", what, error);
  };
  for (size_t m = 0; m < want.outputs.size(); ++m) {
    compare(fmt::format("output {}", m), got.outputs[m], want.outputs[m]);
    compare(fmt::format("dx {}", m), got.input_grads[m], want.input_grads[m]);
  }
  for (const auto& [name, grad] : want.weight_grads) {
    const auto it = got.weight_grads.find(name);
    compare(name, it == got.weight_grads.end() ? Tensor() : it->second, grad);
  }
  if (got.weight_grads.size() != want.weight_grads.size()) report += "other parameters have gradients; ";
  return report;
}

std::string layouts_mismatch(const ModelConfig& config, const Part& part, bool documents) {
  TestModel model(config);
  const std::vector<Batch> batches = {
      make_batch(model.config(), {.documents = documents, .first_sample = 3, .seed = 5}),
      make_batch(model.config(), {.documents = documents, .first_sample = 5, .seed = 6})};
  const PartRun want = run_on_one(model, batches, part);
  std::string report;
  for (const Layout& layout : split_layouts()) {
    for (const WeightGrads::Mode mode : {WeightGrads::Mode::kNow, WeightGrads::Mode::kDefer}) {
      const std::string off = difference(run_split(model, batches, part, layout, mode), want);
      if (off.empty()) continue;
      report += fmt::format("tp {}{}{}: {}\n", layout.ranks, layout.sequence_parallel ? " sp" : "",
                            mode == WeightGrads::Mode::kDefer ? " deferred" : "", off);
    }
  }
  return report;
}

}  // namespace phalanx::nn::testing
