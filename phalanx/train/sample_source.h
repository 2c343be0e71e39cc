// File: phalanx/train/sample_source.h
//
// Purpose: training samples by index, whatever they come from, and their assembly into host micro-batches.
// Contract: sample k is a pure function of the run's config, so a resume is an integer and the micro-batch size or the
//   number of data ranks may change. A sample is S + 1 tokens; labels are the tokens shifted by one, before any split.
//   Files are read in Megatron's order, blends included (data/blended_dataset.h); data.tasks are made (task_source.h).
//   Megatron's options for ends of documents (EOD) apply per sample: no loss where the input is EOD, positions and
//   attention start again after it; or positions and attention start again wherever another sequence of the file
//   begins, whatever token stands there (Megatron's inter-document masking).
//   Sequences of the file are not known any more once fill-in-the-middle moved the tokens: a sample is then one.
// Units: tokens; sample indices count from 0 in training order.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "phalanx/data/blend_config.h"
#include "phalanx/data/data_config.h"
#include "phalanx/engine/train_step.h"
#include "phalanx/tokenizer/tokenizer.h"
#include "phalanx/train/run_config.h"

namespace phalanx {

class SampleSource {
 public:
  virtual ~SampleSource() = default;
  virtual int64_t num_samples() const = 0;
  // Fills S + 1 tokens and S label masks (1: counts).
  virtual void read(int64_t sample, std::span<int64_t> tokens, std::span<uint8_t> label_mask) const = 0;
  // And where sequences of the file begin in it, 0 first.
  virtual void read_packed(int64_t sample, std::span<int64_t> tokens, std::span<uint8_t> label_mask,
                           std::vector<int64_t>& starts) const;
};

struct SampleSourceOptions {
  int64_t seq_length = 0;
  int64_t vocab_size = 0;
  uint64_t seed = 0;
  std::optional<int64_t> num_samples;    // how many the run may ask for; none: one epoch (files only)
  const Tokenizer* tokenizer = nullptr;  // outlives the source; tasks and fill-in-the-middle need it
  bool may_be_short = false;  // true: no error when a blend without weights has fewer samples than asked for
  // Ranks that build the same source: the first one builds and writes to data.data_cache_path (or `cache_folder` where
  // that is empty; both empty: every rank builds in memory), then all meet in `barrier`, then the others map.
  std::string cache_folder;
  bool first_rank = true;
  std::function<void()> barrier;
};

// nullptr when the split has no documents.
std::unique_ptr<SampleSource> make_sample_source(const DataConfig& config, SplitPart part,
                                                 const SampleSourceOptions& options);

// make_sample_source, or Error(kBadInput) that says how to get documents into the split.
std::unique_ptr<SampleSource> require_sample_source(const DataConfig& config, SplitPart part,
                                                    const SampleSourceOptions& options);

struct DocumentRules {
  int64_t eod = -1;  // -1: no token ends documents
  bool mask_loss = false;
  bool reset_positions = false;
  bool reset_attention = false;
  bool reset_at_sequences = false;  // positions and attention, where a sequence of the file begins
};
// `tokenizer` knows the token that ends a document; it may be null.
DocumentRules document_rules(const TrainConfig& config, const Tokenizer* tokenizer);

// Samples first .. first + count - 1 of the source, cut into micro-batches.
std::vector<HostBatch> build_micro_batches(const SampleSource& source, int64_t first, int64_t count,
                                           int64_t micro_batch_size, int64_t seq_length,
                                           const DocumentRules& rules);

// One data rank's part of a step: micro-batch k of the step goes to data rank k mod data_size, so that a step of any size
// keeps its numbers.
struct StepShare {
  int64_t first = 0;  // sample of the source with which the step begins
  int64_t count = 0;  // samples of the step
  int64_t micro_batch_size = 1;
  int64_t data_rank = 0;
  int64_t data_size = 1;
};
std::vector<HostBatch> build_step_share(const SampleSource& source, const StepShare& share,
                                        int64_t seq_length, const DocumentRules& rules);

}  // namespace phalanx
