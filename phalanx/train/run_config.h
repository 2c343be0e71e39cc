// File: phalanx/train/run_config.h
//
// Purpose: a whole run as one value: the sections model, parallel, train, optim, data, checkpoint, log, runtime.
// Contract: plain data by config/fields.h. resolve_run fills what follows from other fields and throws one Error that
//   lists every violation before anything is built.
// Units: *_interval and *_iters in steps, *_samples in samples, seconds and minutes as named.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "phalanx/arch/model_config.h"
#include "phalanx/config/config_tree.h"
#include "phalanx/config/fields.h"
#include "phalanx/data/data_config.h"
#include "phalanx/mesh/parallel_config.h"
#include "phalanx/model/model.h"
#include "phalanx/optim/optim_config.h"
#include "phalanx/tokenizer/make_tokenizer.h"

namespace phalanx {

enum class DtypeKind { kFp64, kFp32, kBf16, kFp16 };
enum class DeviceKind { kCpu, kCuda };

std::span<const EnumName<DtypeKind>> enum_names(DtypeKind);
std::span<const EnumName<DeviceKind>> enum_names(DeviceKind);

struct TrainConfig {
  int64_t micro_batch_size = 1;
  int64_t global_batch_size = 0;  // 0: micro_batch_size x data ranks
  int64_t train_iters = 0;
  int64_t train_samples = 0;
  int64_t seed = 1234;
  std::vector<int64_t> rampup_batch_size;
  std::optional<int64_t> eval_interval;
  int64_t eval_iters = 10;
  std::optional<int64_t> exit_interval;
  std::optional<double> exit_duration_minutes;
  DtypeKind dtype = DtypeKind::kFp32;
  RecomputeMode recompute = RecomputeMode::kNone;
  RecomputeMethod recompute_method = RecomputeMethod::kUniform;
  int64_t recompute_num_layers = 1;
  std::vector<std::string> recompute_modules;
  bool distribute_saved_activations = false;
  int64_t recompute_window_micro_batches = 0;
  bool offload_stash = false;
  StashMode stash_mode = StashMode::kPhalanx;
  bool skip_train = false;
  std::vector<int64_t> iterations_to_skip;
  bool check_for_nan = true;
  bool eod_mask_loss = false;
  bool reset_position_ids = false;
  bool reset_attention_mask = false;
  bool reset_at_sequences = false;

  template <typename Visitor>
  void visit_fields(Visitor& v) {
    v.field("micro_batch_size", micro_batch_size, "samples in one forward pass of a rank");
    v.field("global_batch_size", global_batch_size,
            "samples in one step; 0 means micro_batch_size x data ranks");
    v.field("train_iters", train_iters, "steps of the run");
    v.field("train_samples", train_samples, "samples of the run, instead of train_iters");
    v.field("seed", seed, "seed of weights, dropout, data order and sampling");
    v.field("rampup_batch_size", rampup_batch_size,
            "start,increment,samples: grow the global batch over these samples");
    v.field("eval_interval", eval_interval, "steps between evaluations; none means never");
    v.field("eval_iters", eval_iters, "global batches in an evaluation");
    v.field("exit_interval", exit_interval, "save and stop at a step divisible by this");
    v.field("exit_duration_minutes", exit_duration_minutes, "save and stop after this many minutes");
    v.field("dtype", dtype,
            "dtype of weights and activations; sums, masters and moments are fp32 (fp64 under fp64)");
    v.field("recompute", recompute, "what backward computes again instead of storing");
    v.field("recompute_method", recompute_method,
            "full recomputation: units of N layers, or only the first N layers");
    v.field("recompute_num_layers", recompute_num_layers, "that N, in transformer layers");
    v.field("recompute_modules", recompute_modules,
            "selective recomputation: core_attn, layernorm, mlp_act (never kept anyway), mlp");
    v.field("distribute_saved_activations", distribute_saved_activations,
            "full recomputation: a tensor-parallel rank keeps its share of each input");
    v.field("recompute_window_micro_batches", recompute_window_micro_batches,
            "so many micro-batches in flight keep everything; only the others are recomputed");
    v.field("offload_stash", offload_stash, "activations wait for their backward in host memory");
    v.field("stash_mode", stash_mode,
            "phalanx: keep as little as can be; paper: what Korthikanti et al. 2022 count");
    v.field("skip_train", skip_train, "only evaluate");
    v.field("iterations_to_skip", iterations_to_skip, "steps whose data is consumed without an update");
    v.field("check_for_nan", check_for_nan, "stop at a loss or norm that is not finite");
    v.field("eod_mask_loss", eod_mask_loss, "no loss on end-of-document tokens as inputs");
    v.field("reset_position_ids", reset_position_ids, "positions start again after an end of document");
    v.field("reset_attention_mask", reset_attention_mask, "attention does not cross an end of document");
    v.field("reset_at_sequences", reset_at_sequences,
            "positions and attention start again where a sequence of the file begins");
  }
};

struct CheckpointConfig {
  std::string save = "";
  std::string load = "";
  std::optional<int64_t> save_interval;
  std::optional<int64_t> load_step;
  std::optional<int64_t> save_retain_interval;
  bool save_optim = true;
  bool load_optim = true;
  bool finetune = false;

  template <typename Visitor>
  void visit_fields(Visitor& v) {
    v.field("save", save, "folder of checkpoints; empty means RUN_DIR/checkpoints");
    v.field("load", load, "folder to start from; empty means the newest in the save folder");
    v.field("save_interval", save_interval, "steps between checkpoints; none means only at the end");
    v.field("load_step", load_step, "load this step instead of the newest");
    v.field("save_retain_interval", save_retain_interval,
            "keep only checkpoints at multiples, and the newest");
    v.field("save_optim", save_optim, "save masters and moments");
    v.field("load_optim", load_optim, "load masters and moments");
    v.field("finetune", finetune, "take only the weights; step and data order start anew");
  }
};

struct LogConfig {
  int64_t interval = 10;
  std::string tensorboard_dir = "";
  bool params_norm = false;
  std::string level = "info";
  bool memory = false;
  int64_t timeline_step = 0;

  template <typename Visitor>
  void visit_fields(Visitor& v) {
    v.field("interval", interval, "steps between lines on stderr; metrics.jsonl has every step");
    v.field("tensorboard_dir", tensorboard_dir, "folder of event files; empty means RUN_DIR/tensorboard");
    v.field("params_norm", params_norm, "log the norm of the weights with each line");
    v.field("level", level, "debug, info, warning, error or off");
    v.field("memory", memory, "log a table of bytes by kind after the first step");
    v.field(
        "timeline_step", timeline_step,
        "draw how the pipeline ran in this step, beside the plan: RUN_DIR/timeline_step_N.svg; 0 means never");
  }
};

struct RuntimeConfig {
  DeviceKind device = DeviceKind::kCpu;
  int64_t threads = 0;
  bool deterministic = true;
  std::string run_dir = "runs/latest";
  std::string gemm_table = "";

  template <typename Visitor>
  void visit_fields(Visitor& v) {
    v.field("device", device, "where tensors live");
    v.field("threads", threads, "threads a rank; 0 means all cores");
    v.field("deterministic", deterministic, "fixed kernel choice: the same bits every run on a machine type");
    v.field("run_dir", run_dir, "folder of this run: metrics, checkpoints, plots");
    v.field("gemm_table", gemm_table,
            "stored matrix-product routes; empty means RUN_DIR/gemm.json when not deterministic");
  }
};

struct RunConfig {
  ModelConfig model;
  ParallelConfig parallel;
  TrainConfig train;
  OptimConfig optim;
  DataConfig data;
  CheckpointConfig checkpoint;
  LogConfig log;
  RuntimeConfig runtime;
};

// The sections as one tree; `config` must outlive it and stay where it is.
ConfigTree make_config_tree(RunConfig& config);

// Derives sizes and checks everything that needs no file. model.vocab_size must be known by now.
void resolve_run(RunConfig& config);

at::ScalarType scalar_type(DtypeKind dtype);

// For make_tokenizer; data.tokenizer_type must not be empty.
TokenizerOptions tokenizer_options(const RunConfig& config);

}  // namespace phalanx
