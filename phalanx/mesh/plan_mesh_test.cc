#include "phalanx/mesh/plan_mesh.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string_view>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

std::string error_of(const ParallelConfig& config) {
  try {
    plan_mesh(config);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kBadInput);
    return e.what();
  }
  return "(no error)";
}

TEST(PlanMesh, DefaultsAreOneRank) {
  const MeshPlan plan = plan_mesh({});
  EXPECT_EQ(plan.mesh.world_size(), 1);
  EXPECT_EQ(plan.config.data, 1);
  EXPECT_EQ(plan.config.world_size, 1);
  EXPECT_EQ(plan.mesh.order(), "tp-cp-dp-pp");
  EXPECT_TRUE(plan.notes.empty());
}

TEST(PlanMesh, DataAndWorldSizeAreDerived) {
  EXPECT_EQ(plan_mesh({.tensor = 2, .pipeline = 3, .context = 2}).config.world_size, 12);
  EXPECT_EQ(plan_mesh({.tensor = 2, .data = 4}).config.world_size, 8);
  const MeshPlan plan = plan_mesh({.tensor = 2, .pipeline = 2, .order = "tp-cp-pp-dp", .world_size = 24});
  EXPECT_EQ(plan.config.data, 6);
  EXPECT_EQ(plan.mesh.size("dp"), 6);
  EXPECT_EQ(plan.mesh.size("pp"), 2);
  EXPECT_EQ(plan.mesh.order(), "tp-cp-pp-dp");
  // Planning what was planned changes nothing.
  EXPECT_EQ(plan_mesh(plan.config).config, plan.config);
}

TEST(PlanMesh, SequenceParallelWithoutTensorIsSwitchedOffWithANote) {
  const MeshPlan plan = plan_mesh({.sequence_parallel = true});
  EXPECT_FALSE(plan.config.sequence_parallel);
  ASSERT_EQ(plan.notes.size(), 1u);
  EXPECT_EQ(plan.notes[0], "parallel.sequence_parallel needs tensor above 1: switched off");
  EXPECT_TRUE(plan_mesh({.tensor = 2, .sequence_parallel = true}).config.sequence_parallel);
}

TEST(PlanMesh, Sizes) {
  EXPECT_THAT(
      error_of({.tensor = 2, .pipeline = 2, .world_size = 6}),
      HasSubstr(
          "parallel: got world_size = 6 is no multiple of tensor 2 x context 1 x pipeline 2 = 4. Fix:"));
  EXPECT_THAT(error_of({.tensor = 2, .data = 2, .world_size = 8}),
              HasSubstr("world_size = 8 is not tensor 2 x context 1 x pipeline 1 x data 2 = 4"));
  EXPECT_THAT(error_of({.tensor = 0}), HasSubstr("tensor = 0 is not from 1 to 16777216"));
  EXPECT_THAT(error_of({.data = -1}), HasSubstr("data = -1 is not from 0 to"));
  EXPECT_THAT(error_of({.tensor = 1 << 20, .context = 1 << 20}),
              HasSubstr("tensor x context x pipeline x data = 1099511627776 is above 16777216"));
  EXPECT_THAT(error_of({.zero_stage = 4}), HasSubstr("zero_stage = 4 is not from 0 to 3"));
  EXPECT_THAT(error_of({.chunks = 2}), HasSubstr("chunks = 2 needs pipeline above 1"));
  EXPECT_EQ(error_of({.pipeline = 2, .chunks = 2}), "(no error)");
  EXPECT_THAT(error_of({.schedule = ""}), HasSubstr("schedule is empty"));
}

TEST(PlanMesh, Order) {
  EXPECT_THAT(error_of({.order = "tp-cp-dp"}), HasSubstr("order 'tp-cp-dp' lacks the axis 'pp'"));
  EXPECT_THAT(error_of({.order = "tp-cp-dp-pp-ep"}), HasSubstr("has the unknown axis 'ep'"));
  EXPECT_THAT(error_of({.order = "tp-cp-dp-pp-tp"}), HasSubstr("has the axis 'tp' twice"));
  EXPECT_THAT(error_of({.order = ""}), HasSubstr("order '' has the unknown axis ''"));
}

TEST(PlanMesh, AllViolationsInOneReport) {
  const std::string text =
      error_of({.tensor = 2, .chunks = 3, .order = "tp-tp-dp-pp", .world_size = 5, .zero_stage = 9});
  for (const char* part : {"zero_stage = 9", "world_size = 5 is no multiple", "chunks = 3 needs",
                           "the axis 'tp' twice", "lacks the axis 'cp'"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
}

ModelNumbers small_model() {
  return {.num_attention_heads = 8,
          .num_query_groups = 2,
          .ffn_hidden_size = 64,
          .padded_vocab_size = 512,
          .seq_length = 32,
          .micro_batch_size = 1,
          .num_layers = 12};
}

std::string model_error(const ModelNumbers& model, const ParallelConfig& config) {
  try {
    validate_model_on_mesh(model, plan_mesh(config).config);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kBadInput);
    return e.what();
  }
  return "(no error)";
}

TEST(ModelOnMesh, FitsAndDoesNotFit) {
  EXPECT_EQ(model_error(small_model(), {}), "(no error)");
  EXPECT_EQ(model_error(small_model(),
                        {.tensor = 8, .sequence_parallel = true, .pipeline = 3, .chunks = 2, .context = 2}),
            "(no error)");
  EXPECT_THAT(model_error(small_model(), {.tensor = 3}),
              HasSubstr("model on mesh: got num_attention_heads = 8 is no multiple of tensor = 3; "
                        "ffn_hidden_size = 64 is no "
                        "multiple of tensor = 3; padded vocab_size = 512 is no multiple of tensor = 3; "
                        "num_query_groups = 2 "
                        "is neither a multiple nor a divisor of tensor = 3. Fix:"));
  EXPECT_THAT(model_error(small_model(), {.context = 3}),
              HasSubstr("seq_length = 32 is no multiple of 2 x context = 6"));
  EXPECT_THAT(model_error(small_model(), {.pipeline = 5}),
              HasSubstr("num_layers = 12 is no multiple of pipeline x chunks = 5"));
  EXPECT_THAT(model_error(small_model(), {.pipeline = 8, .chunks = 2}),
              HasSubstr("num_layers = 12 is below pipeline x chunks = 16"));
}

TEST(ModelOnMesh, MambaLayersAreCutByHeadsGroupsAndChannels) {
  ModelNumbers model = small_model();
  model.mamba_num_heads = 24;
  model.mamba_num_groups = 3;
  model.mamba1_inner = 48;
  EXPECT_EQ(model_error(model, {}), "(no error)");
  EXPECT_THAT(model_error(model, {.tensor = 16}),
              AllOf(HasSubstr("mamba_num_heads = 24 is no multiple of tensor = 16"),
                    HasSubstr("mamba_num_groups = 3 is neither a multiple nor a divisor of tensor = 16"),
                    Not(HasSubstr("mamba1"))));
  model.mamba1_inner = 50;
  EXPECT_THAT(model_error(model, {.tensor = 4}),
              AllOf(HasSubstr("mamba1 inner width = 50 is no multiple of tensor = 4"),
                    HasSubstr("mamba_num_groups = 3 is neither"), Not(HasSubstr("mamba_num_heads"))));
  // Groups may be shared, and a model without attention has none of its numbers.
  EXPECT_EQ(model_error({.padded_vocab_size = 512,
                         .seq_length = 32,
                         .num_layers = 12,
                         .mamba_num_heads = 8,
                         .mamba_num_groups = 2},
                        {.tensor = 8}),
            "(no error)");
}

TEST(ModelOnMesh, SequenceParallelNeedsTokensThatDivide) {
  ModelNumbers model = small_model();
  model.seq_length = 36;
  EXPECT_THAT(model_error(model, {.tensor = 8, .sequence_parallel = true}),
              HasSubstr("micro_batch_size x seq_length = 36 is no multiple of tensor x context = 8"));
  model.micro_batch_size = 2;
  EXPECT_EQ(model_error(model, {.tensor = 8, .sequence_parallel = true}), "(no error)");
}

TEST(ModelOnMesh, StagesOfThePatternMayBeUneven) {
  ModelNumbers model = small_model();
  model.num_layers = 7;
  model.stages_in_pattern = 4;
  EXPECT_EQ(model_error(model, {.pipeline = 2, .chunks = 2}), "(no error)");
  EXPECT_THAT(model_error(model, {.pipeline = 2}),
              HasSubstr("the pattern names 4 stages, pipeline x chunks = 2"));
}

struct HelpReader {
  std::set<std::string> names;

  template <typename T>
  void field(std::string_view name, T&, std::string_view help) {
    EXPECT_TRUE(names.insert(std::string(name)).second);
    EXPECT_GE(help.size(), 8u);
    EXPECT_EQ(help.find('\n'), std::string_view::npos);
  }
};

TEST(ParallelConfig, FieldsHaveNamesAndOneLineHelp) {
  HelpReader reader;
  ParallelConfig config;
  config.visit_fields(reader);
  EXPECT_EQ(reader.names,
            (std::set<std::string>{"tensor", "sequence_parallel", "pipeline", "chunks", "context", "data",
                                   "schedule", "order", "world_size", "zero_stage"}));
}

}  // namespace
}  // namespace phalanx
