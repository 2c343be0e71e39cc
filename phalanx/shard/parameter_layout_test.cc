#include "phalanx/shard/parameter_layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "phalanx/base/error.h"
#include "phalanx/shard/box_set.h"

namespace phalanx {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

ModelConfig config_of(int64_t groups) {
  ModelConfig c;
  c.pattern = "*-";
  c.hidden_size = 16;
  c.num_attention_heads = 8;
  c.num_query_groups = groups;
  c.kv_channels = 4;
  c.ffn_hidden_size = 24;
  c.vocab_size = 211;
  c.seq_length = 6;
  c.qk_norm = true;
  finalize(c);
  return c;
}

ModelConfig mamba_config(int64_t groups) {
  ModelConfig c;
  c.pattern = "Mm";
  c.hidden_size = 16;
  c.vocab_size = 211;
  c.seq_length = 6;
  c.position_embedding = PositionKind::kNone;
  c.mamba_num_heads = 8;
  c.mamba_head_dim = 3;
  c.mamba_num_groups = groups;
  c.mamba_state_dim = 5;
  c.mamba1_state_dim = 4;
  finalize(c);
  validate(c);
  return c;
}

std::vector<int> world_ranks(int n, int first = 0, int stride = 1) {
  std::vector<int> ranks;
  for (int r = 0; r < n; ++r) ranks.push_back(first + r * stride);
  return ranks;
}

ParameterSlot slot_of(const ModelConfig& config, const std::string& name, int rank, int size,
                      bool sp = false) {
  return parameter_slot(config, make_parameter_table(config).at(name),
                        {.tp = {rank, size}, .sequence_parallel = sp, .tp_ranks = world_ranks(size)});
}

// Counts the boxes it looked at.
int check_tiles(const ModelConfig& config, const FusedParameter& fused, int tp) {
  int boxes = 0;
  for (size_t part = 0; part < fused.parts.size(); ++part) {
    std::map<Shape, std::vector<int>> holders;
    std::vector<Box> primary;
    for (int r = 0; r < tp; ++r) {
      const SlotSegment s = slot_of(config, fused.name, r, tp).segments.at(part);
      EXPECT_EQ(s.local_box.shape(), s.global_box.shape());
      EXPECT_EQ(s.replicas.at(static_cast<size_t>(s.replica)), r);
      if (s.global_box.num_elements() == 0) continue;
      holders[s.global_box.begin].push_back(r);
      if (s.replica == 0) primary.push_back(s.global_box);
    }
    for (int r = 0; r < tp; ++r) {
      const SlotSegment s = slot_of(config, fused.name, r, tp).segments.at(part);
      if (s.global_box.num_elements() == 0) continue;
      EXPECT_EQ(s.replicas, holders[s.global_box.begin]) << s.name;
      ++boxes;
    }
    EXPECT_FALSE(first_overlap(primary)) << fused.name;
    EXPECT_TRUE(uncovered(Box::whole(fused.parts[part].shape), primary).empty()) << fused.name;
  }
  return boxes;
}

TEST(ParameterLayout, EveryTensorIsTiledAndItsReplicasAreThoseThatHoldTheBox) {
  int boxes = 0;
  for (const bool tied : {true, false}) {
    for (const int64_t groups : {8, 2, 1}) {
      ModelConfig config = config_of(groups);
      config.tied_embeddings = tied;
      config.activation = tied ? ActivationKind::kSwiglu : ActivationKind::kGelu;
      for (const ModelConfig& c : {config, mamba_config(groups)}) {
        for (const FusedParameter& fused : make_parameter_table(c).parameters) {
          for (const int tp : {1, 2, 4, 8}) boxes += check_tiles(c, fused, tp);
        }
      }
    }
  }
  EXPECT_GT(boxes, 4000);
}

TEST(ParameterLayout, HeadsStayTogether) {
  const ModelConfig config = config_of(2);
  const ParameterSlot qkv = slot_of(config, "layers.0.attention.qkv.weight", 3, 4);
  EXPECT_EQ(qkv.shape, (Shape{2 * 4 + 4 + 4, 16}));
  EXPECT_EQ(qkv.segments[0].global_box, (Box{{24, 0}, {32, 16}}));
  EXPECT_EQ(qkv.segments[1].global_box, (Box{{4, 0}, {8, 16}})) << "heads 6 and 7 read the second group";
  EXPECT_EQ(qkv.segments[2].local_box, (Box{{12, 0}, {16, 16}}));
  EXPECT_THAT(qkv.segments[0].replicas, ElementsAre(3));
  EXPECT_THAT(qkv.segments[1].replicas, ElementsAre(2, 3));
  EXPECT_EQ(qkv.segments[1].replica, 1);
  const ParameterSlot bias = slot_of(config, "layers.0.attention.qkv.bias", 3, 4);
  EXPECT_EQ(bias.segments[1].global_box, (Box{{4}, {8}}));
  EXPECT_TRUE(bias.segments[1].partial && bias.segments[2].partial && !bias.segments[0].partial);
  const ParameterSlot out = slot_of(config, "layers.0.attention.out.weight", 3, 4);
  EXPECT_EQ(out.segments[0].global_box, (Box{{0, 24}, {16, 32}}));
  EXPECT_EQ(groups_of_rank(config, 4), 1);
  EXPECT_EQ(groups_of_rank(config, 2), 1);
  EXPECT_EQ(groups_of_rank(config, 1), 2);
}

// Of rank 3 of 4: heads 6 and 7 of 8, which are channels 18 to 23.
TEST(ParameterLayout, Mamba2IsCutByHeadsAndGroups) {
  const ModelConfig config = mamba_config(4);
  const std::string mamba = "layers.0.mamba.";
  const ParameterSlot in = slot_of(config, mamba + "in.weight", 3, 4);
  EXPECT_EQ(in.shape, (Shape{6 + 6 + 5 + 5 + 2, 16}));
  EXPECT_EQ(in.segments[0].global_box, (Box{{18, 0}, {24, 16}}));
  EXPECT_EQ(in.segments[1].global_box, (Box{{18, 0}, {24, 16}}));
  EXPECT_EQ(in.segments[1].local_box, (Box{{6, 0}, {12, 16}}));
  EXPECT_EQ(in.segments[2].global_box, (Box{{15, 0}, {20, 16}}));
  EXPECT_EQ(in.segments[3].local_box, (Box{{17, 0}, {22, 16}}));
  EXPECT_EQ(in.segments[4].global_box, (Box{{6, 0}, {8, 16}}));
  const ParameterSlot conv = slot_of(config, mamba + "conv.bias", 3, 4);
  EXPECT_EQ(conv.shape, (Shape{6 + 5 + 5}));
  EXPECT_EQ(conv.segments[0].global_box, (Box{{18}, {24}}));
  EXPECT_EQ(conv.segments[2].global_box, (Box{{15}, {20}}));
  EXPECT_EQ(slot_of(config, mamba + "conv.weight", 3, 4).segments[1].global_box, (Box{{15, 0}, {20, 4}}));
  for (const char* name : {"dt_bias", "A_log", "D"})
    EXPECT_EQ(slot_of(config, mamba + name, 3, 4).segments[0].global_box, (Box{{6}, {8}})) << name;
  EXPECT_EQ(slot_of(config, mamba + "norm.weight", 3, 4).segments[0].global_box, (Box{{18}, {24}}));
  EXPECT_EQ(slot_of(config, mamba + "out.weight", 3, 4).segments[0].global_box, (Box{{0, 18}, {16, 24}}));
  EXPECT_EQ(mamba_groups_of_rank(config, 2), 2);
  EXPECT_EQ(mamba_groups_of_rank(config, 8), 1);
}

// A rank has the group that its heads read: h G / H for its first and its last.
TEST(ParameterLayout, AMambaGroupIsWithItsHeads) {
  int checked = 0;
  for (const int64_t groups : {8, 4, 2, 1}) {
    const ModelConfig config = mamba_config(groups);
    for (const int tp : {1, 2, 4, 8}) {
      for (int r = 0; r < tp; ++r) {
        const ParameterSlot in = slot_of(config, "layers.0.mamba.in.weight", r, tp);
        const Box& heads = in.segments[4].global_box;
        const Box& group = in.segments[2].global_box;
        EXPECT_EQ(group.begin[0], heads.begin[0] * groups / 8 * 5);
        EXPECT_EQ(group.end[0], ((heads.end[0] - 1) * groups / 8 + 1) * 5);
        EXPECT_EQ(group.end[0] - group.begin[0], mamba_groups_of_rank(config, tp) * 5);
        ++checked;
      }
    }
  }
  EXPECT_EQ(checked, 4 * 15);
}

TEST(ParameterLayout, Mamba1IsCutByChannels) {
  const ModelConfig config = mamba_config(1);  // 32 channels, rank 1
  const std::string mamba = "layers.1.mamba1.";
  const ParameterSlot in = slot_of(config, mamba + "in.weight", 3, 4);
  EXPECT_EQ(in.shape, (Shape{16, 16}));
  EXPECT_EQ(in.segments[1].global_box, (Box{{24, 0}, {32, 16}}));
  EXPECT_EQ(in.segments[1].local_box, (Box{{8, 0}, {16, 16}}));
  const ParameterSlot x_proj = slot_of(config, mamba + "x_proj.weight", 3, 4);
  EXPECT_EQ(x_proj.shape, (Shape{1 + 4 + 4, 8})) << "all rows, this rank's channels";
  EXPECT_EQ(x_proj.segments[2].global_box, (Box{{0, 24}, {4, 32}}));
  EXPECT_EQ(x_proj.segments[2].local_box, (Box{{5, 0}, {9, 8}}));
  EXPECT_EQ(slot_of(config, mamba + "A_log", 3, 4).segments[0].global_box, (Box{{24, 0}, {32, 4}}));
  EXPECT_EQ(slot_of(config, mamba + "dt_proj.weight", 3, 4).segments[0].global_box, (Box{{24, 0}, {32, 1}}));
  for (const char* name : {"conv.bias", "dt_bias", "D"})
    EXPECT_EQ(slot_of(config, mamba + name, 3, 4).segments[0].global_box, (Box{{24}, {32}})) << name;
  EXPECT_EQ(slot_of(config, mamba + "out.weight", 3, 4).segments[0].global_box, (Box{{0, 24}, {16, 32}}));
}

TEST(ParameterLayout, GateAndUpAreCutOnTheirOwn) {
  ModelConfig config = config_of(2);
  config.activation = ActivationKind::kSwiglu;
  const ParameterSlot slot = slot_of(config, "layers.1.mlp.gate_up.weight", 1, 4);
  EXPECT_EQ(slot.shape, (Shape{12, 16}));
  for (const int part : {0, 1}) {
    const SlotSegment& s = slot.segments[static_cast<size_t>(part)];
    EXPECT_EQ(s.global_box, (Box{{6, 0}, {12, 16}})) << s.name;
    EXPECT_EQ(s.local_box, (Box{{part * 6, 0}, {part * 6 + 6, 16}})) << s.name;
    EXPECT_FALSE(s.partial);
    EXPECT_TRUE(s.decay);
  }
}

TEST(ParameterLayout, WhichGradientsArePartial) {
  const auto partial_names = [](int64_t groups, int tp, bool sp) {
    const ModelConfig config = config_of(groups);
    std::set<std::string> names;
    for (const FusedParameter& fused : make_parameter_table(config).parameters) {
      for (const SlotSegment& s : slot_of(config, fused.name, tp - 1, tp, sp).segments) {
        if (s.partial) names.insert(s.name);
      }
    }
    return names;
  };
  const std::string attention = "layers.0.attention.";
  const std::set<std::string> head_norms = {attention + "q_norm.weight", attention + "k_norm.weight"};
  const std::set<std::string> shared_groups = {attention + "k.weight", attention + "k.bias",
                                               attention + "v.weight", attention + "v.bias"};
  const std::set<std::string> rows = {
      "layers.0.norm.weight", "layers.0.norm.bias",     "layers.1.norm.weight",
      "layers.1.norm.bias",   "final_norm.weight",      "final_norm.bias",
      attention + "out.bias", "layers.1.mlp.down.bias", "embedding.position.weight"};
  const auto united = [](std::set<std::string> a, const std::set<std::string>& b) {
    a.insert(b.begin(), b.end());
    return a;
  };
  EXPECT_THAT(partial_names(1, 1, false), testing::IsEmpty());
  EXPECT_EQ(partial_names(8, 4, false), head_norms);
  EXPECT_EQ(partial_names(2, 4, false), united(head_norms, shared_groups));
  EXPECT_EQ(partial_names(8, 4, true), united(head_norms, rows));
  EXPECT_EQ(partial_names(1, 4, true), united(united(head_norms, rows), shared_groups));
}

TEST(ParameterLayout, OnlySharedGroupsOfMambaArePartial) {
  const auto partial_names = [](int64_t groups, int tp) {
    const ModelConfig config = mamba_config(groups);
    std::set<std::string> names;
    for (const FusedParameter& fused : make_parameter_table(config).parameters) {
      for (const SlotSegment& s : slot_of(config, fused.name, tp - 1, tp, /*sp=*/false).segments) {
        if (s.partial) names.insert(s.name);
      }
    }
    return names;
  };
  const std::string mamba = "layers.0.mamba.";
  EXPECT_THAT(partial_names(4, 4), testing::IsEmpty());
  EXPECT_EQ(partial_names(2, 4),
            (std::set<std::string>{mamba + "B.weight", mamba + "C.weight", mamba + "conv_B.weight",
                                   mamba + "conv_C.weight", mamba + "conv_B.bias", mamba + "conv_C.bias"}));
  const SlotSegment shared = slot_of(mamba_config(2), mamba + "in.weight", 3, 8).segments[3];
  EXPECT_THAT(shared.replicas, ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(shared.replica, 3);
}

TEST(ParameterLayout, ReplicasAreWorldRanksAndATiedEmbeddingHasTwoCopies) {
  const ModelConfig config = config_of(2);
  const ParameterTable table = make_parameter_table(config);
  // tp fastest over dp 2 and pp 2: the last stage of data rank 1 is 12 .. 15, its first stage 4 .. 7.
  const ParameterPlace last{.tp = {2, 4},
                            .sequence_parallel = true,
                            .tp_ranks = world_ranks(4, 12),
                            .tied_ranks = world_ranks(4, 4)};
  const SlotSegment tied = parameter_slot(config, table.at("embedding.token.weight"), last).segments[0];
  EXPECT_THAT(tied.replicas, ElementsAre(6, 14));
  EXPECT_EQ(tied.replica, 1);
  EXPECT_TRUE(tied.partial);
  const SlotSegment norm = parameter_slot(config, table.at("final_norm.weight"), last).segments[0];
  EXPECT_THAT(norm.replicas, ElementsAre(12, 13, 14, 15));
  EXPECT_EQ(norm.replica, 2);
  EXPECT_TRUE(norm.partial);
  const SlotSegment k = parameter_slot(config, table.at("layers.0.attention.qkv.weight"), last).segments[1];
  EXPECT_THAT(k.replicas, ElementsAre(14, 15));
  ParameterPlace first = last;
  first.tp_ranks = world_ranks(4, 4);
  first.tied_ranks = world_ranks(4, 12);
  EXPECT_EQ(parameter_slot(config, table.at("embedding.token.weight"), first).segments[0].replica, 0);
  first.tied_ranks = {};
  const SlotSegment alone = parameter_slot(config, table.at("embedding.token.weight"), first).segments[0];
  EXPECT_THAT(alone.replicas, ElementsAre(6));
  EXPECT_FALSE(alone.partial);
  ModelConfig untied = config;
  untied.tied_embeddings = false;
  EXPECT_FALSE(parameter_slot(untied, table.at("embedding.token.weight"), last).segments[0].partial);
}

TEST(ParameterLayout, PaddedVocabulary) {
  ModelConfig config = config_of(2);
  EXPECT_EQ(padded_vocab_over(config, 1), 256);
  EXPECT_EQ(padded_vocab_over(config, 3), 258);
  const ParameterSlot slot = slot_of(config, "embedding.token.weight", 3, 4);
  EXPECT_EQ(slot.shape, (Shape{64, 16}));
  EXPECT_EQ(slot.segments[0].global_box, (Box{{192, 0}, {211, 16}}));
  config.vocab_size = 11;
  config.make_vocab_size_divisible_by = 16;
  const SlotSegment padding = slot_of(config, "embedding.token.weight", 3, 4).segments[0];
  EXPECT_EQ(padding.global_box.num_elements(), 0);
  EXPECT_THAT(padding.replicas, ElementsAre(3));
}

TEST(ParameterLayout, MambaThatDoesNotDivide) {
  const auto error_of = [](const std::string& name, int tp) -> std::string {
    try {
      slot_of(mamba_config(2), name, 0, tp);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_THAT(error_of("layers.0.mamba.in.weight", 16),
              HasSubstr("tensor 'layers.0.mamba.z.weight' [24, 16]: got 8 pieces for 16"));
  EXPECT_THAT(error_of("layers.0.mamba.A_log", 16), HasSubstr("got 8 pieces for 16"));
  // 24 channels would divide, 8 heads do not.
  for (const char* name : {"in.weight", "conv.weight", "conv.bias", "norm.weight"})
    EXPECT_THAT(error_of(std::string("layers.0.mamba.") + name, 3),
                HasSubstr("8 units of 3 in dim 0 over 3"));
  EXPECT_THAT(error_of("layers.0.mamba.out.weight", 3), HasSubstr("8 units of 3 in dim 1 over 3"));
  EXPECT_THAT(error_of("layers.1.mamba1.x_proj.weight", 64), HasSubstr("got 32 pieces for 64"));
}

TEST(ParameterLayout, OnlyKeysValuesAndMambaGroupsMayBeShared) {
  ModelConfig config = config_of(2);
  config.ffn_hidden_size = 2;
  for (const auto& [name, tensor] : std::map<std::string, std::string>{
           {"layers.1.mlp.up.weight", "tensor 'layers.1.mlp.up.weight' [2, 16]: got 2 pieces for 4"},
           {"layers.1.mlp.down.weight", "tensor 'layers.1.mlp.down.weight' [16, 2]: got 2 pieces for 4"}}) {
    try {
      slot_of(config, name, 0, 4);
      FAIL() << name;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
      EXPECT_THAT(error.what(), HasSubstr(tensor));
      EXPECT_THAT(error.what(), HasSubstr("needed a piece for every rank. Fix: lower parallel.tensor"));
    }
  }
}

}  // namespace
}  // namespace phalanx
