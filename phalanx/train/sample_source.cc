#include "phalanx/train/sample_source.h"

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/base/threads.h"
#include "phalanx/data/blended_dataset.h"
#include "phalanx/data/fim.h"
#include "phalanx/data/mock.h"
#include "phalanx/train/task_source.h"

namespace phalanx {
namespace {

class FileSource : public SampleSource {
 public:
  explicit FileSource(std::unique_ptr<const BlendedDataset> dataset) : dataset_(std::move(dataset)) {}
  int64_t num_samples() const override { return dataset_->num_samples(); }
  void read(int64_t sample, std::span<int64_t> tokens, std::span<uint8_t> label_mask) const override {
    dataset_->read(sample, tokens, label_mask);
  }
  void read_packed(int64_t sample, std::span<int64_t> tokens, std::span<uint8_t> label_mask,
                   std::vector<int64_t>& starts) const override {
    dataset_->read(sample, tokens, label_mask, &starts);
  }

 private:
  std::unique_ptr<const BlendedDataset> dataset_;
};

class FimSource : public SampleSource {
 public:
  FimSource(std::unique_ptr<const BlendedDataset> dataset, const Tokenizer& tokenizer,
            const FimOptions& options)
      : dataset_(std::move(dataset)), fim_(tokenizer, options) {}
  int64_t num_samples() const override { return dataset_->num_samples(); }
  void read(int64_t sample, std::span<int64_t> tokens, std::span<uint8_t> label_mask) const override {
    dataset_->read(sample, tokens, label_mask);
    size_t filled = tokens.size();  // what a kept partial sample holds
    while (filled > 1 && label_mask[filled - 2] == 0) --filled;
    fim_.apply(sample, tokens.first(filled), label_mask.first(filled - 1));
  }

 private:
  std::unique_ptr<const BlendedDataset> dataset_;
  FillInTheMiddle fim_;
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

void check_settings(const DataConfig& config) {
  if (!(config.mid_level_dataset_surplus >= 0 && config.mid_level_dataset_surplus <= 100)) {
    throw Error(ErrorKind::kBadInput, {.where = "data.mid_level_dataset_surplus",
                                       .got = fmt::format("{}", config.mid_level_dataset_surplus),
                                       .needed = "a share in [0, 100]",
                                       .fix = "change the setting"});
  }
  if (config.num_dataset_builder_threads < 0 || config.num_dataset_builder_threads > 1024) {
    throw Error(ErrorKind::kBadInput, {.where = "data.num_dataset_builder_threads",
                                       .got = fmt::format("{}", config.num_dataset_builder_threads),
                                       .needed = "0 (every core) to 1024",
                                       .fix = "change the setting"});
  }
}

// The order of samples of this part, as the ranks agree to build it.
std::unique_ptr<const BlendedDataset> open_files(const DataConfig& config, const PartData& data,
                                                 SplitPart part, const SampleSourceOptions& options) {
  const std::string& folder = config.data_cache_path.empty() ? options.cache_folder : config.data_cache_path;
  BlendedOptions blend{.part = part,
                       .num_samples = options.num_samples,
                       .seq_length = options.seq_length,
                       .seed = static_cast<int64_t>(options.seed),
                       .vocab_size = options.vocab_size,
                       .surplus = config.mid_level_dataset_surplus,
                       .threads = thread_count(config.num_dataset_builder_threads),
                       .cache = std::make_shared<IndexCache>(
                           IndexCacheOptions{.folder = folder, .writes = options.first_rank})};
  if (data.cut) blend.split = config.split;
  if (options.barrier && !options.first_rank) options.barrier();
  auto dataset = BlendedDataset::open(data.blend, blend);
  if (options.barrier && options.first_rank) options.barrier();
  return dataset;
}

// Only a blend without weights, or one prefix of it, can be shorter than what was asked for.
void check_enough(const BlendedDataset& dataset, SplitPart part, const SampleSourceOptions& options) {
  if (options.may_be_short || !options.num_samples || dataset.num_samples() >= *options.num_samples) return;
  throw Error(
      ErrorKind::kBadInput,
      {.where = fmt::format("the {} data", split_part_name(part)),
       .got = fmt::format("{} samples in one pass over {} data sets without weights", dataset.num_samples(),
                          dataset.num_datasets()),
       .needed = fmt::format("{}", *options.num_samples),
       .fix = "give weights, with which data sets are read as often as it takes, or ask for fewer samples"});
}

// nullptr when the part has no documents.
std::unique_ptr<SampleSource> make_file_source(const DataConfig& config, SplitPart part,
                                               const SampleSourceOptions& options) {
  const PartData data = data_of_part(config, part);
  if (data.blend.prefixes.empty()) return nullptr;
  std::unique_ptr<const BlendedDataset> dataset = open_files(config, data, part, options);
  if (dataset == nullptr) return nullptr;
  check_enough(*dataset, part, options);
  if (!config.fim_data) return std::make_unique<FileSource>(std::move(dataset));
  if (options.tokenizer == nullptr) {
    throw Error(ErrorKind::kBadInput, {.where = "data.fim_data",
                                       .got = "no tokenizer",
                                       .needed = "the tokenizer that made the data: pieces are cut as text",
                                       .fix = "set data.tokenizer_type (--tokenizer-type)"});
  }
  const FimOptions fim = fim_options(config, *options.tokenizer, options.seed, static_cast<int32_t>(part));
  return std::make_unique<FimSource>(std::move(dataset), *options.tokenizer, fim);
}

}  // namespace

void SampleSource::read_packed(int64_t sample, std::span<int64_t> tokens, std::span<uint8_t> label_mask,
                               std::vector<int64_t>& starts) const {
  starts.assign(1, 0);
  read(sample, tokens, label_mask);
}

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
  check_settings(config);
  const auto open = [&](const SampleSourceOptions& o) { return make_file_source(config, part, o); };
  if (config.tasks.empty()) return open(options);
  return make_task_source(config, part, options, names_data(config) ? OpenFiles(open) : OpenFiles());
}

std::unique_ptr<SampleSource> require_sample_source(const DataConfig& config, SplitPart part,
                                                    const SampleSourceOptions& options) {
  auto source = make_sample_source(config, part, options);
  if (source) return source;
  throw Error(
      ErrorKind::kBadInput,
      {.where = std::string("the ") + split_part_name(part) + " data",
       .got = "no documents (data.split is " + config.split + ")",
       .needed = "some, as the run asks for this part",
       .fix = part == SplitPart::kTrain
                  ? "change data.split (--split), or give data.train_data_path"
                  : "change data.split (--split), give data.valid_data_path, or drop train.eval_interval"});
}

}  // namespace phalanx
