// The mistakes that the layout grid must catch (DESIGN 7.3), each put into the run from outside, and the axis that catches
// it: at that axis's neutral value the same mistake goes unseen. Those of a single rank (micro-batches, recomputation)
// are in grid_test.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/layout_mutants.h"
#include "tests/layout_setting.h"

namespace phalanx {
namespace {

using testing::called_identical;
using testing::EditedGroup;
using testing::expect_caught;
using testing::GroupEdit;
using testing::in_group;
using testing::in_reductions;
using testing::mesh_of;
using testing::Mistake;
using testing::no_work;
using testing::Setting;
using testing::with_batches;

bool is_norm_sum(const Tensor& tensor) {
  return tensor.scalar_type() == at::kDouble && tensor.numel() == 1;
}

bool is_key_or_value(const std::string& name) {
  return name.find("attention.k.") != std::string::npos || name.find("attention.v.") != std::string::npos;
}

TEST(LayoutMutants, RowParallelOutputNotSummed) {
  expect_caught({{"tp", "2"}}, {{{"tp", "1"}}},
                in_reductions("tp", [](comm::Group&, Tensor& t, comm::ReduceOp op) {
                  return op == comm::ReduceOp::kSum && t.is_floating_point() ? no_work() : nullptr;
                }));
}

TEST(LayoutMutants, NormsUnderSequenceParallelismNotSummed) {
  expect_caught({{"tp", "2"}, {"sp", "yes"}}, {{{"sp", "no"}}}, called_identical([](const std::string& name) {
                  return name.find("norm.") != std::string::npos;
                }));
}

TEST(LayoutMutants, TiedEmbeddingNotSummedOverStages) {
  expect_caught({{"pp", "2"}, {"tied", "yes"}}, {{{"tied", "no"}}, {{"pp", "1"}}},
                called_identical([](const std::string& name) { return name == "embedding.token.weight"; }));
}

TEST(LayoutMutants, SharedKeysAndValuesNotSummed) {
  for (const char* groups : {"2", "1"}) {
    expect_caught({{"tp", "4"}, {"kv_groups", groups}}, {{{"kv_groups", "4"}}},
                  called_identical(is_key_or_value));
  }
}

// Without sequence parallelism and tied embeddings nothing else has replicas that are summed.
TEST(LayoutMutants, SharedKeysAndValuesSummedTwice) {
  expect_caught(
      {{"tp", "4"}, {"kv_groups", "1"}}, {{{"kv_groups", "4"}}},
      in_reductions("replicas", [](comm::Group& real, Tensor& t, comm::ReduceOp op) -> comm::WorkPtr {
        real.all_reduce(t, op);
        return nullptr;
      }));
}

TEST(LayoutMutants, SharedKeysAndValuesCountedTwiceInTheNorm) {
  expect_caught({{"tp", "4"}, {"kv_groups", "1"}}, {{{"kv_groups", "4"}}}, [](const Setting& s) {
    std::vector<Model*> models(static_cast<size_t>(mesh_of(s).world_size()));
    LayoutHooks hooks;
    hooks.built = [&](int rank, Model& model) { models[static_cast<size_t>(rank)] = &model; };
    hooks.group = [&](int rank, std::unique_ptr<comm::Group> real) -> std::unique_ptr<comm::Group> {
      if (real->name() != "model") return real;
      return std::make_unique<EditedGroup>(
          std::move(real),
          GroupEdit{.all_reduce =
                        [&models, rank](comm::Group&, Tensor& sum, comm::ReduceOp) {
                          for (Parameter* p : models[static_cast<size_t>(rank)]->parameters()) {
                            for (const Segment& segment : p->segments) {
                              if (!is_key_or_value(segment.name) || is_first_replica(segment, rank)) continue;
                              sum += view_of(p->main_grad, segment.local_box).square().sum();
                            }
                          }
                          return comm::WorkPtr();
                        },
                    .all_gather = {}});
    };
    return testing::run(s, hooks);
  });
}

// The columns that only fill up the last rank's piece take part in the softmax.
TEST(LayoutMutants, PaddedVocabularyNotMasked) {
  expect_caught({{"tp", "4"}, {"vocab", "211"}}, {{{"vocab", "128"}}}, [](const Setting& s) {
    const int64_t true_rows = s.number("vocab");
    const LayoutHooks hooks{.built = [&](int, Model& model) {
      for (Parameter* p : model.parameters()) {
        for (const Segment& segment : p->segments) {
          if (segment.global_shape[0] <= true_rows || segment.global_shape[0] != (true_rows + 3) / 4 * 4)
            continue;
          for (int64_t row = std::max(true_rows, segment.global_box.begin[0]);
               row < segment.global_box.end[0]; ++row) {
            p->data[segment.local_box.begin[0] + row - segment.global_box.begin[0]].zero_();
          }
        }
      }
    }};
    return testing::run(s, hooks, [](ModelConfig& c) { c.vocab_size = (c.vocab_size + 3) / 4 * 4; });
  });
}

TEST(LayoutMutants, ClipByTheLocalNorm) {
  const Mistake local = in_reductions(
      "model", [](comm::Group&, Tensor& t, comm::ReduceOp) { return is_norm_sum(t) ? no_work() : nullptr; });
  expect_caught({{"tp", "2"}}, {{{"tp", "1"}}}, local);
  expect_caught({{"pp", "2"}}, {{{"pp", "1"}}}, local);
}

TEST(LayoutMutants, ClipByTheNormOfTheOwnShard) {
  expect_caught({{"dp", "2"}, {"zero", "1"}}, {{{"zero", "0"}}},
                in_reductions("dp", [](comm::Group&, Tensor& t, comm::ReduceOp) {
                  return is_norm_sum(t) ? no_work() : nullptr;
                }));
}

// Data rank 1 joins in and lets go of what it gets: its forward runs on the old weights.
TEST(LayoutMutants, StaleGather) {
  const auto drop = [](comm::Group& real, Tensor& out, Tensor& in) -> comm::WorkPtr {
    return real.rank() == 1 ? real.start_all_gather(at::empty_like(out), in) : nullptr;
  };
  expect_caught({{"dp", "2"}, {"zero", "1"}}, {{{"zero", "0"}}},
                in_group("dp", [&](int) { return GroupEdit{.all_reduce = {}, .all_gather = drop}; }));
}

// Counts the buckets of every rank first, then leaves out the last one of each step.
TEST(LayoutMutants, LastBucketNotReduced) {
  expect_caught({{"dp", "2"}, {"pp", "2"}}, {{{"dp", "1"}}}, [](const Setting& s) {
    std::vector<int> buckets(static_cast<size_t>(mesh_of(s).world_size()), 0);
    const auto left_out = [&](bool leave) {
      return in_group("dp", [&buckets, leave](int rank) {
        int& most = buckets[static_cast<size_t>(rank)];
        return GroupEdit{.all_reduce =
                             [&most, leave, bucket = 0](comm::Group&, Tensor& t, comm::ReduceOp) mutable {
                               if (!t.is_floating_point())
                                 bucket = 0;  // the labels are counted: a step begins
                               if (!t.is_floating_point() || is_norm_sum(t)) return comm::WorkPtr();
                               ++bucket;
                               if (leave) return bucket == most ? no_work() : nullptr;
                               most = std::max(most, bucket);
                               return comm::WorkPtr();
                             },
                         .all_gather = {}};
      });
    };
    left_out(false)(s);
    EXPECT_TRUE(s["dp"] == "1" || buckets[0] > 1) << "several buckets";
    return left_out(true)(s);
  });
}

// 1 / N of a data rank is that of its own labels.
TEST(LayoutMutants, MeanOfMeansOverDataRanks) {
  const Mistake mean = in_reductions("dp", [](comm::Group& real, Tensor& t, comm::ReduceOp) -> comm::WorkPtr {
    if (t.scalar_type() != at::kLong) return nullptr;
    t *= real.size();
    return no_work();
  });
  expect_caught({{"dp", "2"}, {"label_mask", "whole_samples"}}, {{{"label_mask", "none"}}, {{"dp", "1"}}},
                mean);
  expect_caught({{"dp", "3"}, {"last", "short"}}, {{{"last", "whole"}}}, mean);
}

TEST(LayoutMutants, EveryDataRankTakesTheFirstOnesMicroBatches) {
  expect_caught({{"dp", "2"}}, {{{"dp", "1"}}}, [](const Setting& s) {
    return with_batches(s, [&](int, int64_t step, std::vector<HostBatch>& batches) {
      batches = testing::data_of(s, s.number("micro_batch"))(step, 0, s.number("dp"));
    });
  });
}

TEST(LayoutMutants, DataRankByTheDefaultOrder) {
  expect_caught({{"pp", "2"}, {"dp", "2"}, {"order", "pp-dp-cp-tp"}}, {{{"order", "tp-cp-dp-pp"}}},
                [](const Setting& s) {
                  return with_batches(s, [&](int rank, int64_t step, std::vector<HostBatch>& batches) {
                    const int64_t data_rank = rank / s.number("tp") % s.number("dp");
                    batches = testing::data_of(s, s.number("micro_batch"))(step, data_rank, s.number("dp"));
                  });
                });
}

// On one rank it is another order of the sum.
TEST(LayoutMutants, TheLastStageTakesAnotherMicroBatch) {
  expect_caught({{"pp", "2"}}, {{{"pp", "1"}}}, [](const Setting& s) {
    return with_batches(
        s, [last = s.number("pp") - 1, mesh = mesh_of(s)](int rank, int64_t, std::vector<HostBatch>& b) {
          if (mesh.coordinate(rank, "pp") == last) std::rotate(b.begin(), b.begin() + 1, b.end());
        });
  });
}

TEST(LayoutMutants, DropoutByTheLocalSample) {
  expect_caught({{"dp", "2"}, {"dropout", "0.1"}}, {{{"dropout", "0"}}, {{"dp", "1"}}}, [](const Setting& s) {
    return with_batches(s, [&](int, int64_t, std::vector<HostBatch>& batches) {
      for (HostBatch& host : batches) host.first_sample = (&host - batches.data()) * s.number("micro_batch");
    });
  });
}

TEST(LayoutMutants, AShortBatchFilledUp) {
  expect_caught({{"dp", "2"}, {"micro_batch", "2"}, {"last", "short"}},
                {{{"last", "whole"}}, {{"micro_batch", "1"}}}, [](const Setting& s) {
                  return with_batches(s, [&](int, int64_t step, std::vector<HostBatch>& batches) {
                    for (HostBatch& host : batches) {
                      for (; host.num_samples < s.number("micro_batch"); ++host.num_samples) {
                        testing::add_sample(testing::samples_like(s), step, host.first_sample, host);
                      }
                    }
                  });
                });
}

TEST(LayoutMutants, DocumentsForgotten) {
  expect_caught({{"tp", "2"}, {"pp", "2"}, {"attention", "documents"}}, {{{"attention", "causal"}}},
                [](const Setting& s) {
                  return with_batches(s, [](int, int64_t, std::vector<HostBatch>& batches) {
                    for (HostBatch& host : batches) host.document.clear();
                  });
                });
}

// The pieces of a boundary tensor in the wrong order.
TEST(LayoutMutants, ScatteredRowsGatheredWrongly) {
  const auto roll = [](comm::Group& real, Tensor& out, Tensor& in) -> comm::WorkPtr {
    if (out.dim() != 2 || out.size(1) != testing::kHidden) return nullptr;  // the sums of the softmax
    real.all_gather(out, in);
    out.copy_(out.roll(in.size(0), 0));
    return no_work();
  };
  expect_caught({{"tp", "2"}, {"pp", "2"}}, {{{"scatter_gather", "off"}}, {{"pp", "1"}}},
                in_group("tp", [&](int) { return GroupEdit{.all_reduce = {}, .all_gather = roll}; }));
}

}  // namespace
}  // namespace phalanx
