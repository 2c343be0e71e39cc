// File: phalanx/data/data_config.h
//
// Purpose: the `data` section: which token files, which split, which tokenizer.
// Contract: plain data by config/fields.h. A path is the prefix of a .bin/.idx pair.
// Units: shares of the split are relative; mock_mask_fraction is a share of labels.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "phalanx/config/fields.h"

namespace phalanx {

struct DataConfig {
  std::vector<std::string> data_path;
  std::vector<std::string> train_data_path;
  std::vector<std::string> valid_data_path;
  std::vector<std::string> test_data_path;
  std::string split = "969,30,1";
  std::string tokenizer_type = "";
  std::string tokenizer_model = "";
  std::string vocab_file = "";
  std::string merge_file = "";
  std::string eod_token = "";
  bool mock_data = false;
  double mock_mask_fraction = 0.0;

  template <typename Visitor>
  void visit_fields(Visitor& v) {
    v.field("data_path", data_path, "prefixes of .bin/.idx pairs, cut by `split`");
    v.field("train_data_path", train_data_path, "prefixes for training alone");
    v.field("valid_data_path", valid_data_path, "prefixes for validation alone");
    v.field("test_data_path", test_data_path, "prefixes for test alone");
    v.field("split", split, "relative sizes of train, valid, test");
    v.field("tokenizer_type", tokenizer_type, "ByteTokenizer, NullTokenizer, ...; empty means none");
    v.field("tokenizer_model", tokenizer_model, "file or folder of the tokenizer");
    v.field("vocab_file", vocab_file, "vocabulary file of a GPT-2 tokenizer");
    v.field("merge_file", merge_file, "merges file of a GPT-2 tokenizer");
    v.field("eod_token", eod_token, "token that ends a document");
    v.field("mock_data", mock_data, "random tokens by Philox instead of files");
    v.field("mock_mask_fraction", mock_mask_fraction, "share of labels to mask in mock data");
  }
};

}  // namespace phalanx
