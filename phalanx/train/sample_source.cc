#include "phalanx/train/sample_source.h"

#include "phalanx/base/error.h"
#include "phalanx/data/gpt_dataset.h"
#include "phalanx/data/mock.h"

namespace phalanx {
namespace {

class FileSource : public SampleSource {
 public:
  explicit FileSource(GptDataset dataset) : dataset_(std::move(dataset)) {}
  int64_t num_samples() const override { return dataset_.num_samples(); }
  void read(int64_t sample, std::span<int64_t> tokens, std::span<uint8_t> label_mask) const override {
    dataset_.read(sample, tokens, label_mask);
  }

 private:
  GptDataset dataset_;
};

class MockSource : public SampleSource {
 public:
  explicit MockSource(const MockOptions& options) : dataset_(options) {}
  int64_t num_samples() const override { return dataset_.num_samples(); }
  void read(int64_t sample, std::span<int64_t> tokens, std::span<uint8_t> label_mask) const override {
    dataset_.read(sample, tokens, label_mask);
  }

 private:
  MockDataset dataset_;
};

const char* part_name(SplitPart part) {
  switch (part) {
    case SplitPart::kTrain:
      return "train";
    case SplitPart::kValid:
      return "valid";
    case SplitPart::kTest:
      return "test";
  }
  return "";
}

const std::vector<std::string>& own_paths(const DataConfig& config, SplitPart part) {
  if (part == SplitPart::kTrain) return config.train_data_path;
  return part == SplitPart::kValid ? config.valid_data_path : config.test_data_path;
}

void require_one_path(const std::vector<std::string>& paths, SplitPart part) {
  if (paths.size() == 1) return;
  throw Error(ErrorKind::kBadInput, {.where = std::string("data paths of ") + part_name(part),
                                     .got = std::to_string(paths.size()) + " entries",
                                     .needed = "one prefix of a .bin/.idx pair; blends are not supported yet",
                                     .fix = "merge the files, or give one prefix"});
}

}  // namespace

std::unique_ptr<SampleSource> make_sample_source(const DataConfig& config, SplitPart part,
                                                 const SampleSourceOptions& options) {
  if (config.mock_data) {
    // Each part draws from its own stream.
    return std::make_unique<MockSource>(MockOptions{.num_samples = options.num_samples.value_or(1024),
                                                    .seq_length = options.seq_length,
                                                    .vocab_size = options.vocab_size,
                                                    .seed = options.seed + static_cast<uint64_t>(part),
                                                    .mask_fraction = config.mock_mask_fraction});
  }
  const bool shared = !config.data_path.empty();
  const std::vector<std::string>& paths = shared ? config.data_path : own_paths(config, part);
  if (paths.empty()) return nullptr;
  require_one_path(paths, part);
  const auto tokens = std::make_shared<const IndexedDataset>(paths[0]);
  std::optional<SequenceRange> range = SequenceRange{0, tokens->num_sequences()};
  if (shared) range = split_sequences(config.split, tokens->num_sequences())[static_cast<size_t>(part)];
  if (!range) return nullptr;
  return std::make_unique<FileSource>(GptDataset(tokens, {.sequences = *range,
                                                          .num_samples = options.num_samples,
                                                          .seq_length = options.seq_length,
                                                          .seed = static_cast<int64_t>(options.seed),
                                                          .vocab_size = options.vocab_size}));
}

}  // namespace phalanx
