// File: phalanx/train/trainer.h
//
// Purpose: the loop: data -> step -> log -> save, on one rank. Owns everything that rank needs.
// Contract: run() resumes from the newest complete checkpoint of the run folder, trains to the end, evaluates and saves
//   on the way, and leaves on SIGINT or SIGTERM after the current step with a checkpoint and a line that says how to
//   resume. A resumed run continues the uninterrupted metrics bit for bit (time fields aside). The learning rate of a
//   step is the schedule's at the samples consumed before it. Steps count from 1.
//   Every rank of a run has a Trainer of its own and makes the same calls. Rank 0 writes: metrics, checkpoints, lines.
// Errors: Error(kNumeric) for a loss or norm that is not finite (earlier checkpoints stay); Error(kIo) for the disk.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "phalanx/checkpoint/checkpoint.h"
#include "phalanx/data/prefetcher.h"
#include "phalanx/engine/rank_groups.h"
#include "phalanx/model/model.h"
#include "phalanx/optim/loss_scaler.h"
#include "phalanx/optim/lr_schedule.h"
#include "phalanx/optim/optimizer.h"
#include "phalanx/telemetry/outliers.h"
#include "phalanx/tokenizer/tokenizer.h"
#include "phalanx/train/batch_size.h"
#include "phalanx/train/interrupt.h"
#include "phalanx/train/memory_report.h"
#include "phalanx/train/report.h"
#include "phalanx/train/run_config.h"
#include "phalanx/train/sample_source.h"
#include "phalanx/train/timeline.h"

namespace phalanx {

// Where a run stands; everything else follows from the config.
struct Progress {
  int64_t step = 0;  // finished steps
  int64_t consumed_samples = 0;
};

struct TrainSummary {
  Progress progress;
  std::optional<double> last_loss;
  std::optional<double> valid_loss;
  std::optional<double> valid_bpb;
  bool finished = false;  // false: left early (signal, exit_interval, duration)
};

// Where ranks that are threads lay what rank 0 writes, by rank.
struct RankExchange {
  explicit RankExchange(int ranks)
      : boxes(static_cast<size_t>(ranks)),
        spans(static_cast<size_t>(ranks)),
        memory(static_cast<size_t>(ranks)) {}
  std::vector<std::vector<TensorBox>> boxes;  // of a checkpoint
  std::vector<RankSpans> spans;               // of a recorded step
  std::vector<RankMemoryUse> memory;          // of the first step
};

// A rank's place in the run; the default is a run of one rank. Both outlive the trainer.
struct TrainRank {
  RankGroups* groups = nullptr;
  RankExchange* exchange = nullptr;
};

class Trainer {
 public:
  // `config` is resolved. `tokenizer` may be null (mock data): then no bits per byte.
  Trainer(RunConfig config, std::shared_ptr<const Tokenizer> tokenizer, TrainRank place = {});
  ~Trainer();

  // Takes the weights, and when the run has a checkpoint its state, from where the config says. Before run().
  void load();
  // The guard is the process's; it is armed here.
  TrainSummary run(InterruptGuard& interrupt);

 private:
  std::unique_ptr<SampleSource> open_source(SplitPart part, int64_t num_samples) const;
  void load_folder(const std::string& folder, bool own_run);
  void save();
  int64_t one_step(StepMetrics& metrics);  // how many labels counted
  void evaluate(StepMetrics& metrics, const InterruptGuard& interrupt);
  void fill_from_record(TrainSummary& summary) const;
  void check_finite(const StepOutcome& outcome) const;
  void log_memory(const StepOutcome& outcome);
  bool leave_now(double started);
  bool done() const;
  int64_t samples_of_step(int64_t consumed) const;
  void start_loader();
  // This data rank's share of the samples first .. first + count - 1 of one step.
  std::vector<HostBatch> micro_batches(const SampleSource& source, int64_t first, int64_t count) const;
  StepLayout step_layout(int64_t step);
  void draw_timeline(const StepOutcome& outcome, int64_t step, size_t micro_batches);
  bool is_first() const { return groups_->rank() == 0; }
  // Whether any rank says so.
  bool any_rank(bool mine) const;

  RunConfig config_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::unique_ptr<RankGroups> alone_;  // the groups of a run of one rank
  RankGroups* groups_;
  RankExchange* exchange_;
  ScheduleSource schedules_;
  std::vector<int64_t> token_bytes_;  // bytes of each token's text, for bits per byte
  kernels::Gemm gemm_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<Optimizer> optimizer_;
  LossScaler scaler_;
  std::unique_ptr<SampleSource> train_;
  std::unique_ptr<SampleSource> valid_;
  LrSchedule schedule_;
  BatchSize batch_size_;
  DocumentRules rules_;
  OutlierDetector outliers_;
  Progress progress_;
  int64_t saved_step_ = -1;
  int64_t first_step_ = 1;                                      // of this process
  double waited_seconds_ = 0;                                   // for the data of the last step
  std::unique_ptr<RunReport> report_;                           // of rank 0
  std::unique_ptr<Prefetcher<std::vector<HostBatch>>> loader_;  // last: its thread reads what stands above
};

// What SIGINT users read: the command that goes on.
std::string resume_hint(const RunConfig& config);

}  // namespace phalanx
