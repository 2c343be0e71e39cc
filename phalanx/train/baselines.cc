#include "phalanx/train/baselines.h"

#include <cmath>

namespace phalanx {
namespace {

constexpr size_t kBytes = 256;

class Counts {
 public:
  Counts() : pairs_(kBytes * kBytes, 0), unigram_(kBytes, 0), context_(kBytes, 0) {}

  void add(uint8_t previous, uint8_t next) {
    ++unigram_[next];
    ++context_[previous];
    ++pairs_[previous * kBytes + next];
    ++total_;
  }
  double unigram(uint8_t byte) const {
    return static_cast<double>(unigram_[byte] + 1) /
           static_cast<double>(total_ + static_cast<int64_t>(kBytes));
  }
  double bigram(uint8_t previous, uint8_t byte) const {
    const auto seen = static_cast<double>(pairs_[previous * kBytes + byte]);
    return (seen + unigram(byte)) / static_cast<double>(context_[previous] + 1);
  }

 private:
  std::vector<int64_t> pairs_, unigram_, context_;
  int64_t total_ = 0;
};

// Calls visit(previous, byte) for each byte of the labels of all samples. A sample's first token is context only.
template <typename Visit>
void visit_bytes(const SampleSource& source, int64_t seq_length, const std::vector<std::string>& pieces,
                 const Visit& visit) {
  std::vector<int64_t> tokens(static_cast<size_t>(seq_length) + 1);
  std::vector<uint8_t> mask(static_cast<size_t>(seq_length));
  for (int64_t k = 0; k < source.num_samples(); ++k) {
    source.read(k, tokens, mask);
    const std::string& first = pieces[static_cast<size_t>(tokens[0])];
    auto previous = static_cast<uint8_t>(first.empty() ? '\n' : first.back());
    for (size_t i = 1; i < tokens.size(); ++i) {
      for (const char c : pieces[static_cast<size_t>(tokens[i])]) {
        visit(previous, static_cast<uint8_t>(c));
        previous = static_cast<uint8_t>(c);
      }
    }
  }
}

}  // namespace

Baselines count_baselines(const SampleSource& train, const SampleSource& valid, int64_t seq_length,
                          const std::vector<std::string>& pieces) {
  Counts counts;
  visit_bytes(train, seq_length, pieces, [&](uint8_t previous, uint8_t byte) { counts.add(previous, byte); });
  Baselines result;
  double unigram_bits = 0;
  double bigram_bits = 0;
  visit_bytes(valid, seq_length, pieces, [&](uint8_t previous, uint8_t byte) {
    unigram_bits -= std::log2(counts.unigram(byte));
    bigram_bits -= std::log2(counts.bigram(previous, byte));
    result.text += static_cast<char>(byte);
  });
  result.bytes = static_cast<int64_t>(result.text.size());
  if (result.bytes == 0) return result;
  result.unigram_bpb = unigram_bits / static_cast<double>(result.bytes);
  result.bigram_bpb = bigram_bits / static_cast<double>(result.bytes);
  return result;
}

}  // namespace phalanx
