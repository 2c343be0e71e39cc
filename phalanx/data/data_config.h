// File: phalanx/data/data_config.h
//
// Purpose: the `data` section: which token files, which split, which tokenizer.
// Contract: plain data by config/fields.h. A path is the prefix of a .bin/.idx pair; a list of paths is a blend when
//   weights stand before the prefixes: ["0.3", "a", "0.7", "b"] (blend_config.h). A task is a text of its own with its
//   sizes and weight: ["phonebook entries=8..32 questions=4", "copy words=16..64"] (recall_config.h).
// Units: shares of the split and weights are relative; the fractions and the fim rates are shares.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "phalanx/config/fields.h"

namespace phalanx {

struct DataConfig {
  std::vector<std::string> data_path;
  std::vector<std::string> train_data_path;
  std::vector<std::string> valid_data_path;
  std::vector<std::string> test_data_path;
  std::string data_args_path = "";
  std::string per_split_data_args_path = "";
  std::string data_cache_path = "";
  int64_t num_dataset_builder_threads = 1;
  double mid_level_dataset_surplus = 0.005;
  std::string split = "969,30,1";
  std::string tokenizer_type = "";
  std::string tokenizer_model = "";
  std::string vocab_file = "";
  std::string merge_file = "";
  std::string eod_token = "";
  bool mock_data = false;
  double mock_mask_fraction = 0.0;
  std::vector<std::string> tasks;
  double tasks_fraction = 0.5;
  int64_t prefetch_steps = 2;
  bool fim_data = false;
  double fim_rate = 0.5;
  double fim_spm_rate = 0.5;
  std::string fim_split_sample = "";
  std::optional<double> fim_fragment_rate;
  std::string fim_no_prefix = "";
  std::string fim_prefix_token = "<fim_prefix>";
  std::string fim_middle_token = "<fim_middle>";
  std::string fim_suffix_token = "<fim_suffix>";
  std::string fim_pad_token = "<fim_pad>";
  std::string fim_eod_token = "<|endoftext|>";

  template <typename Visitor>
  void visit_fields(Visitor& v) {
    v.field("data_path", data_path,
            "prefixes of .bin/.idx pairs, weights before them or not, cut by `split`");
    v.field("train_data_path", train_data_path, "prefixes for training alone");
    v.field("valid_data_path", valid_data_path, "prefixes for validation alone");
    v.field("test_data_path", test_data_path, "prefixes for test alone");
    v.field("data_args_path", data_args_path, "file with the words of data_path");
    v.field("per_split_data_args_path", per_split_data_args_path,
            "JSON file with the lists train, valid and test, each as data_path");
    v.field("data_cache_path", data_cache_path,
            "folder where the order of samples is kept for the next start");
    v.field("num_dataset_builder_threads", num_dataset_builder_threads,
            "threads that build the order of samples");
    v.field("mid_level_dataset_surplus", mid_level_dataset_surplus,
            "share of samples to build in a blend beyond what the weights ask for");
    v.field("split", split, "relative sizes of train, valid, test");
    v.field("tokenizer_type", tokenizer_type, "ByteTokenizer, NullTokenizer, ...; empty means none");
    v.field("tokenizer_model", tokenizer_model, "file or folder of the tokenizer");
    v.field("vocab_file", vocab_file, "vocabulary file of a GPT-2 tokenizer");
    v.field("merge_file", merge_file, "merges file of a GPT-2 tokenizer");
    v.field("eod_token", eod_token, "token that ends a document");
    v.field("mock_data", mock_data, "random tokens by Philox instead of files");
    v.field("mock_mask_fraction", mock_mask_fraction, "share of labels to mask in mock data");
    v.field("tasks", tasks,
            "recall tasks made on the fly, as in \"phonebook entries=8..32 questions=4 weight=2\"");
    v.field("tasks_fraction", tasks_fraction,
            "share of samples that are tasks where data paths are given, too");
    v.field("fim_data", fim_data, "turn documents into fill-in-the-middle tasks");
    v.field("fim_rate", fim_rate, "share of documents to turn");
    v.field("fim_spm_rate", fim_spm_rate, "share of these with the suffix before the prefix");
    v.field("fim_split_sample", fim_split_sample,
            "token that cuts a document into fragments turned one by one");
    v.field("fim_fragment_rate", fim_fragment_rate, "share of fragments to turn where a document is cut");
    v.field("fim_no_prefix", fim_no_prefix, "text whose pieces are left alone: what starts with it");
    v.field("fim_prefix_token", fim_prefix_token, "token before the prefix");
    v.field("fim_middle_token", fim_middle_token, "token before the middle");
    v.field("fim_suffix_token", fim_suffix_token, "token before the suffix");
    v.field("fim_pad_token", fim_pad_token, "token that fills a sample that became shorter");
    v.field("fim_eod_token", fim_eod_token, "token between documents");
    v.field("prefetch_steps", prefetch_steps, "steps whose batches are made ahead on a background thread");
  }
};

}  // namespace phalanx
