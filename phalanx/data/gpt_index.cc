#include "phalanx/data/gpt_index.h"

#include <cmath>
#include <limits>
#include <numeric>

#include <fmt/format.h>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

constexpr int64_t kMaxSamples = int64_t{0xffffffff} - 2;   // the shuffle index has 32 bits
constexpr int64_t kMaxDocumentEntries = int64_t{1} << 33;  // 32 GiB of document index

struct EpochPlan {
  int64_t tokens_per_epoch = 0;
  int64_t num_epochs = 1;
  bool separate_final = false;
  int64_t samples_before_final = 0;  // where the last epoch's samples begin
};

[[noreturn]] void fail(const std::string& where, const std::string& got, const std::string& needed,
                       const std::string& fix) {
  throw Error(ErrorKind::kBadInput, {.where = where, .got = got, .needed = needed, .fix = fix});
}

EpochPlan plan_epochs(std::span<const int32_t> lengths, const GptIndexOptions& o, const std::string& where) {
  EpochPlan plan;
  plan.tokens_per_epoch = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  const int64_t tpe = plan.tokens_per_epoch;
  if (tpe == 0) {
    fail(where, fmt::format("no tokens in {} sequences", lengths.size()), "at least one sample",
         "give this part a larger share of the split, or more data");
  }
  if (!o.num_samples) return plan;
  const int64_t num_samples = *o.num_samples;
  int64_t needed = 0;
  if (num_samples > kMaxSamples || __builtin_mul_overflow(num_samples, o.seq_length, &needed)) {
    fail(where, fmt::format("{} samples", num_samples), fmt::format("at most {}", kMaxSamples),
         "train on fewer samples");
  }
  needed += o.extra_tokens;
  plan.num_epochs = std::max<int64_t>(1, (needed + tpe - 1) / tpe);
  if (plan.num_epochs == 1) return plan;
  plan.samples_before_final = ((plan.num_epochs - 1) * tpe - o.extra_tokens) / o.seq_length;
  const int64_t last = num_samples - plan.samples_before_final;
  const int64_t per_epoch = (tpe - o.extra_tokens) / o.seq_length;
  plan.separate_final = last < static_cast<int64_t>(0.80 * static_cast<double>(per_epoch));
  return plan;
}

std::vector<int32_t> build_documents(int64_t count, int32_t first_id, const EpochPlan& plan,
                                     NumpyRandomState& random) {
  std::vector<int32_t> documents(static_cast<size_t>(count * plan.num_epochs));
  for (size_t i = 0; i < documents.size(); ++i) {
    documents[i] = first_id + static_cast<int32_t>(static_cast<int64_t>(i) % count);
  }
  const std::span<int32_t> all(documents);
  if (!plan.separate_final) {
    random.shuffle(all);
    return documents;
  }
  const auto cut = static_cast<size_t>(count * (plan.num_epochs - 1));
  random.shuffle(all.first(cut));
  random.shuffle(all.subspan(cut));
  return documents;
}

int64_t count_samples(int64_t num_tokens, const GptIndexOptions& o) {
  const int64_t usable = num_tokens - o.extra_tokens;
  if (o.drop_last_partial) return usable / o.seq_length;
  // Megatron rounds to fp32 here, which above 2^24 tokens may count a sample more or less.
  return static_cast<int64_t>(std::ceil(static_cast<float>(usable) / static_cast<float>(o.seq_length)));
}

}  // namespace

SampleIndex build_sample_index(std::span<const int32_t> lengths, int32_t first_id,
                               std::span<const int32_t> documents, int64_t num_tokens,
                               const GptIndexOptions& o) {
  const int64_t num_samples = count_samples(num_tokens, o);
  SampleIndex index;
  index.positions.reserve(static_cast<size_t>(num_samples) + 1);
  index.offsets.reserve(static_cast<size_t>(num_samples) + 1);
  size_t at = 0;
  int64_t offset = 0;
  const auto record = [&] {
    index.positions.push_back(static_cast<int64_t>(at));
    index.offsets.push_back(static_cast<int32_t>(offset));
  };
  record();
  for (int64_t sample = 0; sample < num_samples; ++sample) {
    int64_t remaining = o.seq_length + o.extra_tokens;
    while (true) {
      const int64_t length = lengths[static_cast<size_t>(documents[at] - first_id)];
      remaining -= length - offset;
      if (remaining <= 0) {  // ends in this document; the extra token opens the next sample again
        offset = length + remaining - o.extra_tokens;
        break;
      }
      if (at + 1 == documents.size()) {
        offset = length - o.extra_tokens;
        break;
      }
      ++at;
      offset = 0;
    }
    record();
  }
  return index;
}

GptIndex build_gpt_index(std::span<const int32_t> lengths, int32_t first_id, const GptIndexOptions& o,
                         const std::string& where) {
  PHALANX_CHECK(o.seq_length > 0, "seq_length must be positive");
  if (o.seed < 0 || o.seed > 0xffffffff) {
    fail(where, fmt::format("seed {}", o.seed), "0 to 4294967295", "choose another seed (--seed)");
  }
  const EpochPlan plan = plan_epochs(lengths, o, where);
  const auto count = static_cast<int64_t>(lengths.size());
  if (count > kMaxDocumentEntries / plan.num_epochs) {
    fail(where, fmt::format("{} epochs of {} sequences", plan.num_epochs, count),
         fmt::format("at most {} in all", kMaxDocumentEntries), "train on fewer samples or more data");
  }
  const int64_t num_tokens = plan.num_epochs * plan.tokens_per_epoch;
  const int64_t num_samples = count_samples(num_tokens, o);
  if (num_samples < 1) {
    fail(where, fmt::format("{} tokens", num_tokens),
         fmt::format("at least {} for one sample of seq_length {}", o.seq_length + o.extra_tokens,
                     o.seq_length),
         "use a shorter seq_length, a larger share of the split, or more data");
  }
  if (num_samples > kMaxSamples) {
    fail(where, fmt::format("{} samples", num_samples), fmt::format("at most {}", kMaxSamples),
         "use a longer seq_length");
  }
  NumpyRandomState random(static_cast<uint32_t>(o.seed));
  GptIndex index{.num_epochs = plan.num_epochs, .separate_final_epoch = plan.separate_final};
  index.documents = build_documents(count, first_id, plan, random);
  index.samples = build_sample_index(lengths, first_id, index.documents, num_tokens, o);
  index.shuffle.resize(static_cast<size_t>(num_samples));
  std::iota(index.shuffle.begin(), index.shuffle.end(), 0u);
  const std::span<uint32_t> all(index.shuffle);
  const size_t cut = plan.separate_final ? static_cast<size_t>(plan.samples_before_final) : all.size();
  random.shuffle(all.first(cut));
  random.shuffle(all.subspan(cut));
  return index;
}

}  // namespace phalanx
