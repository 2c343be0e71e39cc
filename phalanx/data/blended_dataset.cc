#include "phalanx/data/blended_dataset.h"

#include <charconv>
#include <map>
#include <numeric>

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/base/threads.h"

namespace phalanx {
namespace {

constexpr const char* kCacheKind = "blend";
constexpr int64_t kMaxBlendSize = 0xffffffff;

bool reads_as_number(const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size();
}

using Corpora = std::vector<std::shared_ptr<const IndexedDataset>>;

// A prefix that stands twice is opened once.
Corpora open_all(const Blend& blend) {
  std::map<std::string, std::shared_ptr<const IndexedDataset>> opened;
  Corpora corpora;
  for (const std::string& prefix : blend.prefixes) {
    auto& corpus = opened[dataset_prefix(prefix)];
    if (corpus == nullptr) {
      if (reads_as_number(prefix) && blend.weights.empty() && !path_exists(prefix + ".idx")) {
        bad_input(fmt::format("the prefix '{}'", prefix),
                  fmt::format("a number among {} prefixes without weights", blend.prefixes.size()),
                  "weights and prefixes in turn, or prefixes alone", "give each prefix a weight before it");
      }
      corpus = std::make_shared<const IndexedDataset>(prefix);
    }
    corpora.push_back(corpus);
  }
  return corpora;
}

// With weights: how many samples each data set is built for. Without: one epoch each.
std::vector<std::optional<int64_t>> samples_to_build(std::span<const double> shares, size_t count,
                                                     const BlendedOptions& o) {
  std::vector<std::optional<int64_t>> samples(count);
  for (size_t i = 0; i < shares.size(); ++i) {
    samples[i] = blend_share_to_build(*o.num_samples, shares[i], o.surplus);
  }
  return samples;
}

std::string key_of(std::span<const double> weights, int64_t size) {
  std::string key = fmt::format("blend index 1\nsize {}\n", size);
  for (const double weight : weights) key += fmt::format("weight {:a}\n", weight);
  return key;
}
std::string key_of(std::span<const int64_t> sizes) {
  std::string key = "exhaustive blend index 1\n";
  for (const int64_t size : sizes) key += fmt::format("size {}\n", size);
  return key;
}

BlendIndex index_of_parts(const IndexCache::Parts& parts) {
  PHALANX_CHECK(parts.size() == 2, "data sets and samples");
  BlendIndex index{index_part_as<int16_t>(parts[0]), index_part_as<uint32_t>(parts[1])};
  PHALANX_CHECK(index.datasets.size() == index.samples.size(), "a sample for each data set");
  return index;
}

template <typename Build>
BlendIndex find_or_build(const IndexCache* cache, const std::string& key, const Build& build) {
  if (cache == nullptr || !cache->active()) return build();
  if (const auto parts = cache->find(kCacheKind, key)) return index_of_parts(*parts);
  const BlendIndex index = build();
  const auto kept = cache->keep(kCacheKind, key,
                                {std::as_bytes(index.datasets.span()), std::as_bytes(index.samples.span())});
  return kept ? index_of_parts(*kept) : index;
}

// `shares`: the weights' shares, or none.
BlendIndex index_of(std::span<const double> shares, std::span<const int64_t> sizes, const BlendedOptions& o) {
  const IndexCache* cache = o.cache.get();
  const int64_t all = std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
  int64_t size = o.num_samples ? std::min(*o.num_samples, all) : all;
  std::vector<double> weights(sizes.begin(), sizes.end());
  if (!shares.empty()) {
    size = 0;
    for (const double share : shares) size += blend_share(*o.num_samples, share);
    weights.assign(shares.begin(), shares.end());
  }
  if (size > kMaxBlendSize) {
    bad_input("the blend", fmt::format("{} samples", size), fmt::format("at most {}", kMaxBlendSize),
              "use a longer seq_length or fewer samples");
  }
  if (!o.num_samples) {
    return find_or_build(cache, key_of(sizes), [&] { return build_exhaustive_blend_index(sizes); });
  }
  weights = normalize_weights(weights);
  return find_or_build(cache, key_of(weights, size), [&] { return build_blend_index(weights, size); });
}

void check_enough(const BlendIndex& index, std::span<const int64_t> sizes, const Corpora& corpora) {
  std::vector<int64_t> used(sizes.size());
  for (const int16_t dataset : index.datasets) ++used.at(static_cast<size_t>(dataset));
  for (size_t i = 0; i < sizes.size(); ++i) {
    if (used[i] <= sizes[i]) continue;
    bad_input(corpora[i]->prefix(), fmt::format("{} samples", sizes[i]),
              fmt::format("{}, which the blend takes from it", used[i]),
              "raise data.mid_level_dataset_surplus (--mid-level-dataset-surplus) two- or tenfold");
  }
}

}  // namespace

std::unique_ptr<const BlendedDataset> BlendedDataset::open(const Blend& blend, const BlendedOptions& o) {
  const size_t count = blend.prefixes.size();
  if (count == 0 || count > static_cast<size_t>(kMaxBlendedDatasets)) {
    bad_input("the blend", fmt::format("{} data sets", count), fmt::format("1 to {}", kMaxBlendedDatasets),
              "merge some of them");
  }
  // Megatron takes a lone prefix with a weight for a blend when it is cut by the split, else for a data set.
  const bool alone = count == 1 && (blend.weights.empty() || !o.split);
  const bool weighted = !blend.weights.empty() && !alone;
  if (weighted && !o.num_samples) {
    bad_input("the blend", "weights without a number of samples", "how many samples to blend",
              "give the number of samples, or leave the weights out to read everything once");
  }
  const Corpora corpora = open_all(blend);
  std::vector<SequenceRange> ranges;
  for (const auto& corpus : corpora) {
    SequenceRange range{0, corpus->num_sequences()};
    if (o.split) {
      const auto cut = split_sequences(*o.split, corpus->num_sequences())[static_cast<size_t>(o.part)];
      if (!cut) return nullptr;
      range = *cut;
    }
    ranges.push_back(range);
  }
  const std::vector<double> shares = weighted ? normalize_weights(blend.weights) : std::vector<double>();
  std::vector<std::optional<int64_t>> samples = samples_to_build(shares, count, o);
  if (alone) samples[0] = o.num_samples;
  std::unique_ptr<BlendedDataset> result(new BlendedDataset);
  result->datasets_.resize(count);
  parallel_for(static_cast<int64_t>(count), o.threads, [&](int64_t item) {
    const auto i = static_cast<size_t>(item);
    result->datasets_[i] =
        std::make_unique<GptDataset>(corpora[i], GptDatasetOptions{.sequences = ranges[i],
                                                                   .num_samples = samples[i],
                                                                   .seq_length = o.seq_length,
                                                                   .seed = o.seed,
                                                                   .drop_last_partial = o.drop_last_partial,
                                                                   .vocab_size = o.vocab_size,
                                                                   .threads = count == 1 ? o.threads : 1,
                                                                   .cache = o.cache});
  });
  if (alone) return result;
  std::vector<int64_t> sizes;
  for (const auto& dataset : result->datasets_) sizes.push_back(dataset->num_samples());
  result->blend_ = index_of(shares, sizes, o);
  check_enough(*result->blend_, sizes, corpora);
  return result;
}

int64_t BlendedDataset::num_samples() const {
  return blend_ ? blend_->size() : datasets_[0]->num_samples();
}

BlendedDataset::Place BlendedDataset::place(int64_t sample) const {
  PHALANX_CHECK(sample >= 0 && sample < num_samples(), fmt::format("sample {} of {}", sample, num_samples()));
  if (!blend_) return {0, sample};
  const auto k = static_cast<size_t>(sample);
  return {blend_->datasets[k], blend_->samples[k]};
}

void BlendedDataset::read(int64_t sample, std::span<int64_t> tokens, std::span<uint8_t> label_mask,
                          std::vector<int64_t>* starts) const {
  const Place at = place(sample);
  datasets_[static_cast<size_t>(at.dataset)]->read(at.sample, tokens, label_mask, starts);
}

}  // namespace phalanx
