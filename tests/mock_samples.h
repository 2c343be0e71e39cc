// File: tests/mock_samples.h
//
// Purpose: the samples of the grids: tokens, labels, masks and documents as functions of step, sample and position, never of
//   a micro-batch or a rank.
#pragma once

#include <string>

#include "phalanx/base/philox.h"
#include "phalanx/engine/train_step.h"

namespace phalanx::testing {

struct MockSamples {
  int64_t vocab = 0;
  int64_t length = 0;
  std::string label_mask = "none";  // none, some, whole_samples
  bool documents = false;
};

inline void add_sample(const MockSamples& mock, int64_t step, int64_t sample, HostBatch& host) {
  const auto vocab = static_cast<uint64_t>(mock.vocab);
  const RandomKey key{.seed = 5, .purpose = RandomPurpose::kMockData, .step = step};
  const RandomKey mask_key{.seed = 5, .purpose = RandomPurpose::kMockMask, .step = step};
  int64_t document = 0;
  for (int64_t i = 0; i < mock.length; ++i) {
    const auto element = static_cast<uint64_t>(sample * (mock.length + 1) + i);
    host.tokens.push_back(static_cast<int64_t>(philox_u32(key, element) % vocab));
    host.labels.push_back(static_cast<int64_t>(philox_u32(key, element + 1) % vocab));
    bool counts = true;
    if (mock.label_mask == "some") counts = philox_uniform(mask_key, element) < 0.6f;
    if (mock.label_mask == "whole_samples") counts = sample % 4 != 1;
    host.label_mask.push_back(counts ? 1 : 0);
    host.position.push_back(i);
    if (!mock.documents) continue;
    host.document.push_back(document);
    if (philox_u32(mask_key, element + 100000) % 5 == 0) ++document;
  }
}

}  // namespace phalanx::testing
