#include "phalanx/kernels/dropout/dropout_cpu.h"

#include <algorithm>

namespace phalanx::kernels {

void dropout_mask_rows(const DropoutRows& rows, const RandomKey& key, uint32_t threshold, bool* dropped,
                       int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    bool* to = dropped + t * rows.columns;
    const int64_t first = rows.token_id[t] * rows.width + rows.first_column;
    // A row may start and end inside a block of four elements.
    for (int64_t i = 0; i < rows.columns;) {
      const int64_t element = first + i;
      const int64_t lane = element % 4;
      const int64_t count = std::min(4 - lane, rows.columns - i);
      const PhiloxBlock words = philox_block(key, static_cast<uint64_t>(element / 4));
      for (int64_t j = 0; j < count; ++j) to[i + j] = words[static_cast<size_t>(lane + j)] < threshold;
      i += count;
    }
  }
}

void dropout_mask_elements(const int64_t* element_index, const RandomKey& key, uint32_t threshold,
                           bool* dropped, int64_t begin, int64_t end) {
  int64_t block = -1;
  PhiloxBlock words{};
  for (int64_t i = begin; i < end; ++i) {
    const int64_t element = element_index[i];
    if (element / 4 != block) {
      block = element / 4;
      words = philox_block(key, static_cast<uint64_t>(block));
    }
    dropped[i] = words[static_cast<size_t>(element % 4)] < threshold;
  }
}

}  // namespace phalanx::kernels
