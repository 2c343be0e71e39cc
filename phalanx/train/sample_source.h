// File: phalanx/train/sample_source.h
//
// Purpose: training samples by index, whatever they come from, and their assembly into host micro-batches.
// Contract: sample k is a pure function of the run's config, so a resume is an integer and the micro-batch size or the
//   number of data ranks may change. A sample is S + 1 tokens; labels are the tokens shifted by one, before any split.
//   Megatron's options for ends of documents (EOD) apply per sample: no loss where the input is EOD, positions and
//   attention start again after it.
// Units: tokens; sample indices count from 0 in training order.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "phalanx/data/data_config.h"
#include "phalanx/engine/train_step.h"

namespace phalanx {

enum class SplitPart { kTrain, kValid, kTest };

class SampleSource {
 public:
  virtual ~SampleSource() = default;
  virtual int64_t num_samples() const = 0;
  // Fills S + 1 tokens and S label masks (1: counts).
  virtual void read(int64_t sample, std::span<int64_t> tokens, std::span<uint8_t> label_mask) const = 0;
};

struct SampleSourceOptions {
  int64_t seq_length = 0;
  int64_t vocab_size = 0;
  uint64_t seed = 0;
  std::optional<int64_t> num_samples;  // how many the run may ask for; none: one epoch (files only)
};

// nullptr when the split has no documents.
std::unique_ptr<SampleSource> make_sample_source(const DataConfig& config, SplitPart part,
                                                 const SampleSourceOptions& options);

struct DocumentRules {
  int64_t eod = -1;  // -1: no token ends documents
  bool mask_loss = false;
  bool reset_positions = false;
  bool reset_attention = false;
};

// Samples first .. first + count - 1 of the source, cut into micro-batches.
std::vector<HostBatch> build_micro_batches(const SampleSource& source, int64_t first, int64_t count,
                                           int64_t micro_batch_size, int64_t seq_length,
                                           const DocumentRules& rules);

}  // namespace phalanx
