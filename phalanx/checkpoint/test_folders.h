// File: phalanx/checkpoint/test_folders.h
//
// Purpose: for this folder's tests: the error of a call, small files and folders, a small model.
// Contract: error_of fails the test when nothing is thrown. copy_fixture copies one of tests/fixtures/hf.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <string>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/checkpoint/checkpoint.h"
#include "phalanx/comm/group.h"
#include "phalanx/kernels/gemm/gemm.h"
#include "phalanx/model/model.h"

namespace phalanx::testing {

inline Error error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no error was thrown";
  return Error(ErrorKind::kUsage, {});
}

inline std::string fixture(const std::string& name) {
  return std::string(PHALANX_SOURCE_DIR) + "/tests/fixtures/hf/" + name;
}

inline std::string copy_fixture(const std::string& name, const std::string& into) {
  const std::string folder = into + "/" + name;
  std::filesystem::copy(fixture(name), folder, std::filesystem::copy_options::recursive);
  return folder;
}

inline void write_text(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

inline void edit_json(const std::string& path, const std::function<void(Json&)>& edit) {
  Json json = read_json_file(path);
  edit(json);
  write_text(path, json.dump());
}

// The bytes of every file under a folder, by relative name.
inline std::map<std::string, std::string> folder_bytes(const std::string& folder) {
  std::map<std::string, std::string> bytes;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    bytes[std::filesystem::relative(entry.path(), folder).string()] = read_file(entry.path().string());
  }
  return bytes;
}

inline bool same_bits(const Tensor& a, const Tensor& b) {
  const Tensor x = a.contiguous();
  const Tensor y = b.contiguous();
  return x.scalar_type() == y.scalar_type() && x.sizes() == y.sizes() &&
         std::ranges::equal(bytes_of(x), bytes_of(y));
}

inline TensorBox whole(const std::string& name, const Tensor& values) {
  const Shape shape = values.sizes().vec();
  return {name, shape, Box::whole(shape), values};
}

inline Tensor read_back(CheckpointReader& reader, const std::string& name, const Shape& shape,
                        at::ScalarType dtype) {
  const Tensor values = at::full(shape, 77, at::TensorOptions(dtype));
  reader.read({name, shape, Box::whole(shape), values});
  return values;
}

inline ModelConfig tiny_llama() {
  ModelConfig c;
  c.num_layers = 1;
  c.hidden_size = 8;
  c.num_attention_heads = 4;
  c.num_query_groups = 2;
  c.ffn_hidden_size = 12;
  c.vocab_size = 10;
  c.make_vocab_size_divisible_by = 16;
  c.seq_length = 8;
  c.normalization = NormKind::kRmsNorm;
  c.activation = ActivationKind::kSwiglu;
  c.position_embedding = PositionKind::kRope;
  c.bias = false;
  c.tied_embeddings = false;
  finalize(c);
  validate(c);
  return c;
}

struct TestModel {
  explicit TestModel(const ModelConfig& config, at::ScalarType dtype = at::kFloat, uint64_t seed = 1)
      : group(comm::make_self_group("tp")),
        model(config, {.dtype = dtype, .seed = seed, .initialise = true}, gemm, *group) {}

  kernels::Gemm gemm;
  std::unique_ptr<comm::Group> group;
  Model model;
};

}  // namespace phalanx::testing
