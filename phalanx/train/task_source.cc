#include "phalanx/train/task_source.h"

#include <cmath>

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/data/packed_tasks.h"
#include "phalanx/data/recall_config.h"

namespace phalanx {
namespace {

constexpr double kWhole = 0x1.0p32;

class TaskSource : public SampleSource {
 public:
  TaskSource(const Tokenizer& tokenizer, PackedTasksOptions options)
      : tasks_(tokenizer, std::move(options)) {}
  int64_t num_samples() const override { return tasks_.num_samples(); }
  void read(int64_t sample, std::span<int64_t> tokens, std::span<uint8_t> label_mask) const override {
    tasks_.read(sample, tokens, label_mask);
  }
  void read_packed(int64_t sample, std::span<int64_t> tokens, std::span<uint8_t> label_mask,
                   std::vector<int64_t>& starts) const override {
    tasks_.read(sample, tokens, label_mask, &starts);
  }

 private:
  PackedTasks tasks_;
};

class MixedSource : public SampleSource {
 public:
  MixedSource(const TaskMix& mix, int64_t num_samples, std::unique_ptr<SampleSource> tasks,
              std::unique_ptr<SampleSource> files)
      : mix_(mix), num_samples_(num_samples), tasks_(std::move(tasks)), files_(std::move(files)) {}
  int64_t num_samples() const override { return num_samples_; }
  void read(int64_t sample, std::span<int64_t> tokens, std::span<uint8_t> label_mask) const override {
    source(sample).read(rank_of(sample), tokens, label_mask);
  }
  void read_packed(int64_t sample, std::span<int64_t> tokens, std::span<uint8_t> label_mask,
                   std::vector<int64_t>& starts) const override {
    source(sample).read_packed(rank_of(sample), tokens, label_mask, starts);
  }

 private:
  const SampleSource& source(int64_t sample) const { return mix_.is_task(sample) ? *tasks_ : *files_; }
  int64_t rank_of(int64_t sample) const {
    return mix_.is_task(sample) ? mix_.tasks(sample) : mix_.files(sample);
  }

  TaskMix mix_;
  int64_t num_samples_ = 0;
  std::unique_ptr<SampleSource> tasks_, files_;
};

std::unique_ptr<SampleSource> open_tasks(const DataConfig& config, SplitPart part,
                                         const SampleSourceOptions& options, int64_t num_samples) {
  if (options.tokenizer == nullptr) {
    throw Error(ErrorKind::kBadInput, {.where = "data.tasks",
                                       .got = "no tokenizer",
                                       .needed = "one, as tasks are made as text",
                                       .fix = "set data.tokenizer_type (--tokenizer-type)"});
  }
  return std::make_unique<TaskSource>(
      *options.tokenizer,
      PackedTasksOptions{.tasks = parse_recall_tasks(config.tasks, "data.tasks"),
                         .stream = {.seed = options.seed, .part = static_cast<int32_t>(part)},
                         .seq_length = options.seq_length,
                         .num_samples = num_samples});
}

}  // namespace

TaskMix::TaskMix(double fraction) {
  const bool inside = fraction > 0 && fraction < 1;  // not so for what is no number
  if (inside) share_ = static_cast<uint64_t>(std::llround(fraction * kWhole));
  if (share_ > 0 && share_ < static_cast<uint64_t>(kWhole)) return;
  throw Error(ErrorKind::kBadInput, {.where = "data.tasks_fraction",
                                     .got = fmt::format("{}", fraction),
                                     .needed = "a share between 0 and 1, as there are tasks and files",
                                     .fix = "change it, or drop data.tasks or the data paths"});
}

int64_t TaskMix::tasks(int64_t samples) const {
  return static_cast<int64_t>(static_cast<unsigned __int128>(samples) * share_ >> 32);
}

// files(n) is n (1 - f) rounded up, so the most are of_files / (1 - f) rounded down.
int64_t TaskMix::most_samples(int64_t of_files) const {
  const uint64_t rest = static_cast<uint64_t>(kWhole) - share_;
  const unsigned __int128 most = (static_cast<unsigned __int128>(of_files) << 32) / rest;
  return most < static_cast<uint64_t>(kMaxPackedTasks) ? static_cast<int64_t>(most) : kMaxPackedTasks;
}

std::unique_ptr<SampleSource> make_task_source(const DataConfig& config, SplitPart part,
                                               const SampleSourceOptions& options,
                                               const OpenFiles& open_files) {
  if (!open_files) return open_tasks(config, part, options, options.num_samples.value_or(1024));
  const TaskMix mix(config.tasks_fraction);
  SampleSourceOptions of_files = options;
  if (options.num_samples) of_files.num_samples = mix.files(*options.num_samples);
  std::unique_ptr<SampleSource> files = open_files(of_files);
  if (files == nullptr) return nullptr;
  const int64_t samples = mix.most_samples(files->num_samples());
  auto tasks = open_tasks(config, part, options, mix.tasks(samples));
  return std::make_unique<MixedSource>(mix, samples, std::move(tasks), std::move(files));
}

}  // namespace phalanx
