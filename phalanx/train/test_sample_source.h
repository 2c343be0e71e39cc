// File: phalanx/train/test_sample_source.h
//
// Purpose: for tests only: data sets and reads that the tests of sample sources share.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/data/indexed_writer.h"
#include "phalanx/train/sample_source.h"

namespace phalanx::testing {

class SampleSourceFolder {
 public:
  // Sequence i of the data set holds 3 + i % 5 tokens base + i.
  std::string write(const std::string& name, int base, int count) const {
    const std::string prefix = folder_.path() + "/" + name;
    IndexedDatasetWriter writer(prefix, base < 256 ? TokenDtype::kUint8 : TokenDtype::kInt32);
    for (int i = 0; i < count; ++i) {
      writer.add_sequence(std::vector<int32_t>(static_cast<size_t>(3 + i % 5), base + i));
      writer.end_document();
    }
    writer.commit();
    return prefix;
  }

  std::string path() const { return folder_.path(); }

 private:
  TemporaryDirectory folder_;
};

// The tokens of sample k, one more than its length.
inline std::vector<int64_t> read_tokens(const SampleSource& source, int64_t k, int64_t seq_length) {
  std::vector<int64_t> tokens(static_cast<size_t>(seq_length) + 1);
  std::vector<uint8_t> mask(static_cast<size_t>(seq_length));
  source.read(k, tokens, mask);
  return tokens;
}

// What a source of the training part says against its config.
inline std::string source_error(const DataConfig& config, const SampleSourceOptions& options) {
  try {
    make_sample_source(config, SplitPart::kTrain, options);
  } catch (const Error& e) {
    return e.what();
  }
  return "(no error)";
}

}  // namespace phalanx::testing
