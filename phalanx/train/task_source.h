// File: phalanx/train/task_source.h
//
// Purpose: the samples of data.tasks: recall tasks made by index, alone or dealt with those of files.
// Contract: parts draw from streams of their own, so that training and validation share no text. With files, sample k
//   is a task where floor((k + 1) f) > floor(k f), f being data.tasks_fraction in steps of 2^-32: shares are exact up
//   to one sample at every k, both kinds are read in their own order and without gaps, and files are asked only for
//   what is read of them.
// Units: samples; the fraction is a share of samples.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "phalanx/train/sample_source.h"

namespace phalanx {

class TaskMix {
 public:
  // Error(kBadInput) unless the fraction lies between 0 and 1, both ends excluded.
  explicit TaskMix(double fraction);

  // Among the first `samples`.
  int64_t tasks(int64_t samples) const;
  int64_t files(int64_t samples) const { return samples - tasks(samples); }
  bool is_task(int64_t sample) const { return tasks(sample + 1) > tasks(sample); }
  // The most samples that take no more than so many of files, at most kMaxPackedTasks.
  int64_t most_samples(int64_t of_files) const;

 private:
  uint64_t share_ = 0;  // of 2^32
};

using OpenFiles = std::function<std::unique_ptr<SampleSource>(const SampleSourceOptions&)>;

// `open_files`: the samples of files for such options, nullptr where the part has none (then so is the result); empty:
// no data paths are given.
std::unique_ptr<SampleSource> make_task_source(const DataConfig& config, SplitPart part,
                                               const SampleSourceOptions& options,
                                               const OpenFiles& open_files);

}  // namespace phalanx
