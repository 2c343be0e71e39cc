#include "phalanx/kernels/attention/attention_cpu.h"

#include <algorithm>

namespace phalanx::kernels {

void dropped_rows(const RandomKey& key, uint32_t threshold, uint64_t first_element, int64_t S, bool* dropped,
                  int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    bool* to = dropped + row * S;
    const uint64_t first = first_element + static_cast<uint64_t>(row * S);
    const int64_t visible = row % S + 1;
    // A row may start and end inside a block of four words.
    for (int64_t j = 0; j < visible;) {
      const uint64_t element = first + static_cast<uint64_t>(j);
      const PhiloxBlock words = philox_block(key, element / 4);
      const auto lane = static_cast<int64_t>(element % 4);
      const int64_t count = std::min(4 - lane, visible - j);
      for (int64_t c = 0; c < count; ++c) to[j + c] = words[static_cast<size_t>(lane + c)] < threshold;
      j += count;
    }
    std::fill(to + visible, to + S, true);
  }
}

}  // namespace phalanx::kernels
