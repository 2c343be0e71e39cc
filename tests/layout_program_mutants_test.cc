// More mistakes that the layout grid must catch (DESIGN 7.3): those of what a stage is and of the order in which it runs.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/layout_mutants.h"
#include "tests/layout_setting.h"

namespace phalanx {
namespace {

using testing::edited_step;
using testing::EditedProgram;
using testing::expect_caught;
using testing::mesh_of;
using testing::Mistake;
using testing::Setting;

// Initial weights of layer `wrong(..., layer)` instead of the layer's own, or of the one behind it
// where that is of another kind.
Mistake layers_numbered(
    const std::function<int64_t(const Setting&, int rank, const ModelPart&, size_t layer)>& wrong) {
  return [=](const Setting& s) {
    const kernels::Gemm gemm;
    const auto alone = comm::make_self_group("tp");
    const RunConfig config = testing::config_of(s);
    const ModelOptions options{.dtype = at::kDouble, .seed = static_cast<uint64_t>(config.train.seed)};
    Model whole(config.model, options, gemm, *alone);
    const auto kind = [](size_t layer) { return layer % 2; };
    return testing::run(
        s, {.built = [&](int rank, Model& model) {
          for (const ModelChunk& chunk : model.part().chunks) {
            for (size_t layer = chunk.begin; layer < chunk.end; ++layer) {
              auto other = static_cast<size_t>(wrong(s, rank, model.part(), layer));
              if (kind(other) != kind(layer)) ++other;
              const std::string prefix = "layers." + std::to_string(layer) + ".";
              for (Parameter* p : model.parameters()) {
                if (!p->name.starts_with(prefix)) continue;
                p->data.copy_(
                    whole.find("layers." + std::to_string(other) + p->name.substr(prefix.size() - 1))->data);
              }
            }
          }
        }});
  };
}

TEST(LayoutProgramMutants, LayersNumberedWithinTheRank) {
  const Mistake local = layers_numbered([](const Setting& s, int rank, const ModelPart& part, size_t layer) {
    int64_t place = 0;
    for (const ModelChunk& chunk : part.chunks) {
      const auto begin = static_cast<int64_t>(chunk.begin), end = static_cast<int64_t>(chunk.end);
      place += std::min(std::max<int64_t>(static_cast<int64_t>(layer) - begin, 0), end - begin);
    }
    return mesh_of(s).coordinate(rank, "pp") * 2 * testing::kPairs / s.number("pp") + place;
  });
  expect_caught({{"pp", "2"}, {"chunks", "2"}, {"schedule", "interleaved"}},
                {{{"chunks", "1"}, {"schedule", "1f1b"}}}, local);
}

TEST(LayoutProgramMutants, LayersNumberedAsInEqualStages) {
  const Mistake equal = layers_numbered([](const Setting& s, int rank, const ModelPart& part, size_t layer) {
    const int64_t stage = mesh_of(s).coordinate(rank, "pp");
    return stage * 2 * testing::kPairs / s.number("pp") + static_cast<int64_t>(layer - part.chunks[0].begin);
  });
  expect_caught({{"pp", "2"}, {"cut", "bars"}}, {{{"cut", "equal"}}}, equal);
}

struct PlainProgram : EditedProgram {
  PlainProgram(Model& model, const StepLayout&) : EditedProgram(model) {}
};

// The buffer in which a gradient arrived is used again between B and W.
struct ReusedGradientBuffer : EditedProgram {
  ReusedGradientBuffer(Model& model, const StepLayout&) : EditedProgram(model) {}
  Tensor backward(int chunk, const Tensor& dy, const Batch& batch, Side& side, Stash& stash,
                  WeightGrads& grads) override {
    Tensor dx = EditedProgram::backward(chunk, dy, batch, side, stash, grads);
    if (dy.dim() == 2) dy.zero_();  // not the weights of the rows of the loss
    return dx;
  }
};

// As many activation buffers as stages: enough for 1F1B.
struct BuffersOfOneFOneB : EditedProgram {
  BuffersOfOneFOneB(Model& model, const StepLayout& layout)
      : EditedProgram(model), most(static_cast<size_t>(layout.groups->mesh().size("pp"))) {}
  Tensor forward(int chunk, const Tensor& x, const Batch& batch, Side& side, Stash& stash) override {
    if (x.defined()) {
      held.push_back(x);
      if (held.size() > most) {
        held.front().zero_();
        held.erase(held.begin());
      }
    }
    return EditedProgram::forward(chunk, x, batch, side, stash);
  }
  Tensor backward(int chunk, const Tensor& dy, const Batch& batch, Side& side, Stash& stash,
                  WeightGrads& grads) override {
    Tensor dx = EditedProgram::backward(chunk, dy, batch, side, stash, grads);
    if (!held.empty()) held.erase(held.begin());
    return dx;
  }
  size_t most;
  std::vector<Tensor> held;
};

// Under sequence parallelism a row's bits come from its place in the rank's piece.
struct DropoutByRowOfThePiece : EditedProgram {
  DropoutByRowOfThePiece(Model& model, const StepLayout&) : EditedProgram(model) {}
  static Batch wrong(Batch batch) {
    batch.token_id =
        batch.token_id.narrow(0, 0, batch.num_rows() / batch.row_shards).repeat({batch.row_shards});
    return batch;
  }
  Tensor forward(int chunk, const Tensor& x, const Batch& batch, Side& side, Stash& stash) override {
    return EditedProgram::forward(chunk, x, wrong(batch), side, stash);
  }
  Tensor backward(int chunk, const Tensor& dy, const Batch& batch, Side& side, Stash& stash,
                  WeightGrads& grads) override {
    return EditedProgram::backward(chunk, dy, wrong(batch), side, stash, grads);
  }
};

// Between F and B the biases change, as by an update that does not wait. Backward alone does not read them.
struct OtherBiasesInBackward : EditedProgram {
  OtherBiasesInBackward(Model& model, const StepLayout&)
      : EditedProgram(model), parameters(model.parameters()) {}
  void add_to_biases(double value) {
    for (Parameter* p : parameters) {
      if (p->name.ends_with("mlp.up.bias")) p->data.add_(value);
    }
  }
  Tensor backward(int chunk, const Tensor& dy, const Batch& batch, Side& side, Stash& stash,
                  WeightGrads& grads) override {
    add_to_biases(0.125);  // a power of two comes off again to the last bit that matters here
    Tensor dx = EditedProgram::backward(chunk, dy, batch, side, stash, grads);
    add_to_biases(-0.125);
    return dx;
  }
  std::vector<Parameter*> parameters;
};

template <typename Program>
LayoutRun through(const Setting& s) {
  return testing::run(s, {.step = edited_step<Program>});
}

TEST(LayoutProgramMutants, TheStepOfTheseMutantsIsRight) {
  testing::References references;
  for (const char* schedule : {"1f1b", "gpipe", "zb-h1"}) {
    const Setting s = testing::plain_setting().with({{"tp", "2"},
                                                     {"sp", "yes"},
                                                     {"pp", "2"},
                                                     {"dp", "2"},
                                                     {"schedule", schedule},
                                                     {"label_mask", "some"}});
    EXPECT_EQ(testing::difference(s, through<PlainProgram>(s), references.of(s)), "") << schedule;
  }
}

TEST(LayoutProgramMutants, AGradientBufferUsedAgainBeforeItsWeightGradient) {
  for (const char* schedule : {"zb-v", "v-half"}) {
    expect_caught({{"pp", "2"}, {"schedule", schedule}, {"chunks", "2"}}, {{{"schedule", "interleaved"}}},
                  through<ReusedGradientBuffer>);
  }
  expect_caught({{"pp", "2"}, {"schedule", "zb-h1"}}, {{{"schedule", "1f1b"}}, {{"schedule", "gpipe"}}},
                through<ReusedGradientBuffer>);
}

TEST(LayoutProgramMutants, ActivationBuffersOfAnotherSchedule) {
  expect_caught({{"pp", "2"}, {"schedule", "gpipe"}}, {{{"schedule", "1f1b"}}, {{"schedule", "zb-h1"}}},
                through<BuffersOfOneFOneB>);
}

TEST(LayoutProgramMutants, DropoutByTheRowOfTheSequenceParallelPiece) {
  expect_caught({{"tp", "2"}, {"sp", "yes"}, {"dropout", "0.1"}}, {{{"dropout", "0"}}, {{"sp", "no"}}},
                through<DropoutByRowOfThePiece>);
}

TEST(LayoutProgramMutants, RecomputationOnOtherWeights) {
  for (const char* recompute : {"uniform1", "block1"}) {
    expect_caught({{"tp", "2"}, {"recompute", recompute}},
                  {{{"recompute", "none"}}, {{"recompute", "selective"}}}, through<OtherBiasesInBackward>);
  }
}

}  // namespace
}  // namespace phalanx
