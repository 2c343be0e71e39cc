#include "phalanx/train/baselines.h"

#include <cmath>
#include <unordered_map>

namespace phalanx {
namespace {

class Counts {
 public:
  explicit Counts(size_t vocab) : vocab_(vocab), unigram_(vocab, 0), context_(vocab, 0) {}

  void add(std::span<const int64_t> tokens) {
    for (size_t i = 0; i + 1 < tokens.size(); ++i) {
      const auto previous = static_cast<size_t>(tokens[i]);
      const auto next = static_cast<size_t>(tokens[i + 1]);
      ++unigram_[next];
      ++context_[previous];
      ++pairs_[previous * vocab_ + next];
      ++total_;
    }
  }
  double unigram(size_t token) const {
    return static_cast<double>(unigram_[token] + 1) /
           static_cast<double>(total_ + static_cast<int64_t>(vocab_));
  }
  double bigram(size_t previous, size_t token) const {
    const auto it = pairs_.find(previous * vocab_ + token);
    const double seen = it == pairs_.end() ? 0.0 : static_cast<double>(it->second);
    return (seen + unigram(token)) / static_cast<double>(context_[previous] + 1);
  }

 private:
  size_t vocab_;
  std::vector<int64_t> unigram_;
  std::vector<int64_t> context_;
  std::unordered_map<size_t, int64_t> pairs_;
  int64_t total_ = 0;
};

}  // namespace

Baselines count_baselines(const SampleSource& train, const SampleSource& valid, int64_t seq_length,
                          const std::vector<std::string>& pieces) {
  Counts counts(pieces.size());
  std::vector<int64_t> tokens(static_cast<size_t>(seq_length) + 1);
  std::vector<uint8_t> mask(static_cast<size_t>(seq_length));
  for (int64_t k = 0; k < train.num_samples(); ++k) {
    train.read(k, tokens, mask);
    counts.add(tokens);
  }
  Baselines result;
  double unigram_bits = 0;
  double bigram_bits = 0;
  for (int64_t k = 0; k < valid.num_samples(); ++k) {
    valid.read(k, tokens, mask);
    for (size_t i = 0; i + 1 < tokens.size(); ++i) {
      const auto label = static_cast<size_t>(tokens[i + 1]);
      unigram_bits -= std::log2(counts.unigram(label));
      bigram_bits -= std::log2(counts.bigram(static_cast<size_t>(tokens[i]), label));
      result.text += pieces[label];
      ++result.labels;
    }
  }
  result.bytes = static_cast<int64_t>(result.text.size());
  if (result.bytes == 0) return result;
  result.unigram_bpb = unigram_bits / static_cast<double>(result.bytes);
  result.bigram_bpb = bigram_bits / static_cast<double>(result.bytes);
  return result;
}

}  // namespace phalanx
