#include "phalanx/data/mock.h"

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/base/philox.h"

namespace phalanx {
namespace {

constexpr int64_t kMaxElements = int64_t{1} << 50;  // what the counter holds

void require(bool holds, const std::string& got, const std::string& needed) {
  if (holds) return;
  throw Error(ErrorKind::kBadInput,
              {.where = "mock data", .got = got, .needed = needed, .fix = "change the setting"});
}

// Calls visit(i, word) for the words of elements first .. first + count - 1, four a block.
template <typename F>
void for_each_word(const RandomKey& key, uint64_t first, size_t count, F visit) {
  PhiloxBlock block{};
  for (size_t i = 0; i < count; ++i) {
    const uint64_t element = first + i;
    if (i == 0 || element % 4 == 0) block = philox_block(key, element / 4);
    visit(i, block[element % 4]);
  }
}

}  // namespace

MockDataset::MockDataset(const MockOptions& options) : options_(options) {
  const MockOptions& o = options_;
  require(o.seq_length > 0, fmt::format("seq_length {}", o.seq_length), "a positive number");
  require(o.vocab_size > 0 && o.vocab_size <= int64_t{1} << 32, fmt::format("vocab_size {}", o.vocab_size),
          "1 to 2^32");
  require(o.mask_fraction >= 0 && o.mask_fraction < 1, fmt::format("mock_mask_fraction {}", o.mask_fraction),
          "a share in [0, 1)");
  require(o.num_samples >= 0 && o.num_samples <= kMaxElements / (o.seq_length + 1),
          fmt::format("{} samples of {} tokens", o.num_samples, o.seq_length + 1), "at most 2^50 tokens");
  mask_threshold_ = dropout_threshold(o.mask_fraction);
}

void MockDataset::read(int64_t sample, std::span<int64_t> tokens, std::span<uint8_t> label_mask) const {
  PHALANX_CHECK(sample >= 0 && sample < num_samples(), fmt::format("sample {} of {}", sample, num_samples()));
  PHALANX_CHECK(static_cast<int64_t>(tokens.size()) == seq_length() + 1, "S + 1 tokens");
  PHALANX_CHECK(static_cast<int64_t>(label_mask.size()) == seq_length(), "S label masks");
  const auto first = static_cast<uint64_t>(sample) * tokens.size();
  const auto vocab = static_cast<uint64_t>(options_.vocab_size);
  for_each_word({.seed = options_.seed, .purpose = RandomPurpose::kMockData}, first, tokens.size(),
                [&](size_t i, uint32_t word) { tokens[i] = static_cast<int64_t>(word % vocab); });
  for_each_word({.seed = options_.seed, .purpose = RandomPurpose::kMockMask}, first + 1, label_mask.size(),
                [&](size_t i, uint32_t word) { label_mask[i] = word >= mask_threshold_ ? 1 : 0; });
}

}  // namespace phalanx
