// File: phalanx/config/test_sections.h
//
// Purpose: sections for the tests of this folder: one with every kind of field, and a whole run with every key that
//   Megatron's flags set. The real sections live with their owners, in folders below this one.
// Contract: test code only.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "phalanx/config/config_tree.h"

namespace phalanx::config_testing {

enum class Kind { kPlain, kFancy, kRmsNorm };
inline std::span<const EnumName<Kind>> enum_names(Kind) {
  static constexpr EnumName<Kind> kNames[] = {
      {Kind::kPlain, "plain"}, {Kind::kFancy, "fancy"}, {Kind::kRmsNorm, "rms_norm"}};
  return kNames;
}

struct EveryKind {
  bool truth = true;
  int64_t count = 7;
  double rate = 1e-5;
  std::string label = "a b";
  std::vector<int64_t> sizes = {1, 2};
  std::vector<double> weights;
  std::vector<std::string> paths;
  std::optional<int64_t> limit;
  std::optional<double> scale = 0.5;
  Kind kind = Kind::kPlain;

  template <typename Visitor>
  void visit_fields(Visitor& v) {
    v.field("truth", truth, "a truth value");
    v.field("count", count, "number of things");
    v.field("rate", rate, "things a second");
    v.field("label", label, "name of the thing");
    v.field("sizes", sizes, "sizes in bytes");
    v.field("weights", weights, "relative weights");
    v.field("paths", paths, "files to read");
    v.field("limit", limit, "largest thing");
    v.field("scale", scale, "scale of things");
    v.field("kind", kind, "which thing");
  }
};

struct Other {
  double lr = 1e-3;
  int64_t hidden_size = 8;
  bool bias = true;

  template <typename Visitor>
  void visit_fields(Visitor& v) {
    v.field("lr", lr, "peak learning rate");
    v.field("hidden_size", hidden_size, "width");
    v.field("bias", bias, "biases in linear layers");
  }
};

// Two small sections and the tree over them.
struct SmallRun {
  SmallRun() {
    tree.add_section("every", every);
    tree.add_section("other", other);
  }
  SmallRun(const SmallRun&) = delete;
  SmallRun& operator=(const SmallRun&) = delete;

  EveryKind every;
  Other other;
  ConfigTree tree;
};

// A run with every key that Megatron's flags set; enums are texts here.
class FullRun {
 public:
  FullRun() {
    add("model",
        {"num_layers", "hidden_size", "num_attention_heads", "num_query_groups", "kv_channels",
         "ffn_hidden_size", "vocab_size", "make_vocab_size_divisible_by", "seq_length",
         "max_position_embeddings", "window_size", "mamba_state_dim", "mamba_head_dim", "mamba_num_groups",
         "mamba_num_heads"},
        {"norm_epsilon", "rotary_base", "rotary_percent", "rope_scaling_factor", "hidden_dropout",
         "attention_dropout", "init_std", "hybrid_attention_ratio", "hybrid_mlp_ratio"},
        {"norm_1p", "qk_norm", "bias", "qkv_bias", "tied_embeddings", "is_hybrid_model"},
        {"pattern", "normalization", "activation", "position_embedding", "rope_scaling"}, {}, {});
    add("parallel", {"tensor", "pipeline", "chunks", "context", "data", "world_size", "zero_stage"}, {},
        {"sequence_parallel"}, {"schedule", "order"}, {}, {});
    add("train",
        {"micro_batch_size", "global_batch_size", "train_iters", "train_samples", "seed", "eval_interval",
         "eval_iters", "exit_interval", "recompute_num_layers", "recompute_window_micro_batches"},
        {"exit_duration_minutes"},
        {"skip_train", "check_for_nan", "eod_mask_loss", "reset_position_ids", "reset_attention_mask",
         "reset_at_sequences", "distribute_saved_activations", "offload_stash"},
        {"recompute", "recompute_method", "dtype", "stash_mode"}, {"rampup_batch_size", "iterations_to_skip"},
        {"recompute_modules"});
    add("optim",
        {"lr_decay_iters", "lr_decay_samples", "lr_warmup_iters", "lr_warmup_samples", "lr_wsd_decay_iters",
         "lr_wsd_decay_samples", "loss_scale_window", "hysteresis"},
        {"lr", "min_lr", "lr_warmup_fraction", "lr_warmup_init", "weight_decay", "clip_grad", "beta1",
         "beta2", "epsilon", "loss_scale", "initial_loss_scale", "min_loss_scale"},
        {}, {"optimizer", "lr_decay_style", "lr_wsd_decay_style"}, {}, {});
    add("data", {"num_dataset_builder_threads"},
        {"mid_level_dataset_surplus", "fim_rate", "fim_spm_rate", "fim_fragment_rate"},
        {"mock_data", "fim_data"},
        {"split", "tokenizer_type", "tokenizer_model", "vocab_file", "merge_file", "data_args_path",
         "per_split_data_args_path", "data_cache_path", "fim_split_sample", "fim_no_prefix",
         "fim_prefix_token", "fim_middle_token", "fim_suffix_token", "fim_pad_token", "fim_eod_token"},
        {}, {"data_path", "train_data_path", "valid_data_path", "test_data_path"});
    add("checkpoint", {"save_interval", "load_step", "save_retain_interval"}, {},
        {"save_optim", "load_optim", "finetune"}, {"save", "load"}, {}, {});
    add("log", {"interval"}, {}, {"params_norm", "memory"}, {"tensorboard_dir"}, {}, {});
    add("runtime", {}, {}, {"deterministic"}, {"run_dir", "device"}, {}, {});
  }
  FullRun(const FullRun&) = delete;
  FullRun& operator=(const FullRun&) = delete;

  ConfigTree tree;

 private:
  using Names = std::vector<std::string>;

  void add(const std::string& section, const Names& integers, const Names& numbers, const Names& truths,
           const Names& texts, const Names& integer_lists, const Names& text_lists) {
    FieldCollector collector;
    for (const auto& name : integers) collector.field(name, integers_.emplace_back(0), "an integer");
    for (const auto& name : numbers) collector.field(name, numbers_.emplace_back(0.0), "a number");
    for (const auto& name : truths) collector.field(name, truths_.emplace_back(false), "a truth value");
    for (const auto& name : texts) collector.field(name, texts_.emplace_back(), "a text");
    for (const auto& name : integer_lists) collector.field(name, integer_lists_.emplace_back(), "integers");
    for (const auto& name : text_lists) collector.field(name, text_lists_.emplace_back(), "texts");
    tree.add_fields(section, std::move(collector.fields));
  }

  // Deques: a field keeps a pointer to its value.
  std::deque<int64_t> integers_;
  std::deque<double> numbers_;
  std::deque<bool> truths_;
  std::deque<std::string> texts_;
  std::deque<std::vector<int64_t>> integer_lists_;
  std::deque<std::vector<std::string>> text_lists_;
};

// A command line as words; "(7,_0)" is one word with a blank.
inline std::vector<std::string> split_words(const std::string& line) {
  std::vector<std::string> words;
  std::string word;
  for (const char c : line + " ") {
    if (c != ' ') {
      word += c == '_' && !word.empty() && word[0] == '(' ? ' ' : c;
    } else if (!word.empty()) {
      words.push_back(word);
      word.clear();
    }
  }
  return words;
}

// The text of the Error that `action` throws, after its kind was checked; "no error" when none comes.
template <typename Action>
std::string error_text(ErrorKind kind, const Action& action) {
  try {
    action();
  } catch (const Error& e) {
    return e.kind() == kind ? e.what() : "wrong kind: " + std::string(e.what());
  }
  return "no error";
}

}  // namespace phalanx::config_testing
