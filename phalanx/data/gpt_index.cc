#include "phalanx/data/gpt_index.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <vector>

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/base/threads.h"
#include "phalanx/data/numpy_random.h"

namespace phalanx {
namespace {

constexpr int64_t kMaxSamples = int64_t{0xffffffff} - 2;  // the shuffle index has 32 bits
constexpr int64_t kMaxDocumentEntries = 0xffffffff;       // a row of the sample index has 32 bits for one

struct EpochPlan {
  int64_t tokens_per_epoch = 0;
  int64_t num_epochs = 1;
  bool separate_final = false;
  int64_t samples_before_final = 0;  // where the last epoch's samples begin
};

EpochPlan plan_epochs(std::span<const int32_t> lengths, const GptIndexOptions& o, const std::string& where) {
  EpochPlan plan;
  plan.tokens_per_epoch = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  const int64_t tpe = plan.tokens_per_epoch;
  if (tpe == 0) {
    bad_input(where, fmt::format("no tokens in {} sequences", lengths.size()), "at least one sample",
              "give this part a larger share of the split, or more data");
  }
  if (!o.num_samples) return plan;
  const int64_t num_samples = *o.num_samples;
  int64_t needed = 0;
  if (num_samples > kMaxSamples || __builtin_mul_overflow(num_samples, o.seq_length, &needed)) {
    bad_input(where, fmt::format("{} samples", num_samples), fmt::format("at most {}", kMaxSamples),
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

IndexArray<int32_t> build_documents(int64_t count, int32_t first_id, const EpochPlan& plan,
                                    NumpyRandomState& random) {
  const auto per_epoch = static_cast<size_t>(count);
  const auto documents = make_index_array<int32_t>(per_epoch * static_cast<size_t>(plan.num_epochs));
  const std::span<int32_t> all = documents.values;
  for (size_t begin = 0; begin < all.size(); begin += per_epoch) {
    std::iota(all.begin() + static_cast<int64_t>(begin),
              all.begin() + static_cast<int64_t>(begin + per_epoch), first_id);
  }
  const size_t cut = plan.separate_final ? all.size() - per_epoch : all.size();
  random.shuffle(all.first(cut));
  random.shuffle(all.subspan(cut));
  return documents.finish();
}

IndexArray<uint32_t> build_shuffle(int64_t num_samples, const EpochPlan& plan, NumpyRandomState& random) {
  const auto shuffle = make_index_array<uint32_t>(static_cast<size_t>(num_samples));
  const std::span<uint32_t> all = shuffle.values;
  std::iota(all.begin(), all.end(), 0u);
  const size_t cut = plan.separate_final ? static_cast<size_t>(plan.samples_before_final) : all.size();
  random.shuffle(all.first(cut));
  random.shuffle(all.subspan(cut));
  return shuffle.finish();
}

int64_t count_samples(int64_t num_tokens, const GptIndexOptions& o) {
  const int64_t usable = num_tokens - o.extra_tokens;
  if (o.drop_last_partial) return usable / o.seq_length;
  // Megatron rounds to fp32 here, which above 2^24 tokens may count a sample more or less.
  return static_cast<int64_t>(std::ceil(static_cast<float>(usable) / static_cast<float>(o.seq_length)));
}

// The rows of the samples that begin in a range of the document index.
class RowWriter {
 public:
  RowWriter(std::span<const int32_t> lengths, int32_t first_id, std::span<const int32_t> documents,
            const GptIndexOptions& o, std::span<SampleRow> rows)
      : lengths_(lengths), first_id_(first_id), documents_(documents), o_(o), rows_(rows) {}

  int64_t tokens(int64_t begin, int64_t end) const {
    int64_t sum = 0;
    for (int64_t i = begin; i < end; ++i) sum += length(i);
    return sum;
  }

  // How many rows come before the document that begins at `token`: those with j S + e <= token, and row 0.
  int64_t rows_before(int64_t token) const {
    const int64_t rows = token < o_.extra_tokens ? 0 : (token - o_.extra_tokens) / o_.seq_length + 1;
    return std::clamp<int64_t>(rows, 1, static_cast<int64_t>(rows_.size()));
  }

  void write(int64_t begin, int64_t end, int64_t first_token, int64_t last_token) const {
    State state{.row = rows_before(first_token), .row_end = rows_before(last_token)};
    state.reach = state.row * o_.seq_length + o_.extra_tokens - first_token;
    // Lengths are fetched from all over memory: many at once, so that they do not wait for one another.
    std::array<int32_t, 256> block{};
    for (int64_t at = begin; at < end && state.row < state.row_end;
         at += static_cast<int64_t>(block.size())) {
      const auto count = static_cast<size_t>(std::min<int64_t>(end - at, block.size()));
      for (size_t k = 0; k < count; ++k) block[k] = length(at + static_cast<int64_t>(k));
      write_block(state, at, std::span(block).first(count));
    }
  }

  // Rows that no document holds: of a partial sample that is kept, and of those that rounding counts too many.
  void write_rest(int64_t num_tokens) const {
    const auto last = static_cast<int64_t>(documents_.size()) - 1;
    const SampleRow row{static_cast<uint32_t>(last), static_cast<int32_t>(length(last) - o_.extra_tokens)};
    std::fill(rows_.begin() + rows_before(num_tokens), rows_.end(), row);
  }

 private:
  struct State {
    int64_t row = 0;
    int64_t row_end = 0;
    int64_t reach = 0;  // from a document's first token to behind the first e tokens of the sample of `row`
  };

  // A row is written whether or not its sample begins here, and written over when not: where documents are about as
  // long as samples, a jump would be guessed wrong every other time.
  void write_block(State& state, int64_t at, std::span<const int32_t> lengths) const {
    const int64_t seq_length = o_.seq_length;
    const int64_t extra = o_.extra_tokens;
    auto [row, row_end, reach] = state;
    size_t k = 0;
    for (; k < lengths.size() && row + 2 < row_end; ++k, ++at) {
      put(row, at, reach - extra);
      put(row + 1, at, reach - extra + seq_length);
      const int64_t left = reach - lengths[k];
      const int64_t one = (left - 1) >> 63;               // all bits set: a sample begins here
      const int64_t two = (left + seq_length - 1) >> 63;  // and another one
      row -= one + two;
      reach = left + (one & seq_length) + (two & seq_length);
      for (; reach <= 0 && row < row_end; ++row, reach += seq_length)
        put(row, at, reach + lengths[k] - extra);
    }
    for (; k < lengths.size(); ++k, ++at) {
      for (; reach <= lengths[k] && row < row_end; ++row, reach += seq_length) put(row, at, reach - extra);
      reach -= lengths[k];
    }
    state = {row, row_end, reach};
  }

  void put(int64_t row, int64_t position, int64_t offset) const {
    rows_[static_cast<size_t>(row)] = {static_cast<uint32_t>(position), static_cast<int32_t>(offset)};
  }

  int32_t length(int64_t i) const {
    return lengths_[static_cast<size_t>(documents_[static_cast<size_t>(i)] - first_id_)];
  }

  std::span<const int32_t> lengths_;
  int32_t first_id_;
  std::span<const int32_t> documents_;
  const GptIndexOptions& o_;
  std::span<SampleRow> rows_;
};

}  // namespace

SampleIndex build_sample_index(std::span<const int32_t> lengths, int32_t first_id,
                               std::span<const int32_t> documents, int64_t num_tokens,
                               const GptIndexOptions& o) {
  const auto rows = make_index_array<SampleRow>(static_cast<size_t>(count_samples(num_tokens, o)) + 1);
  rows.values[0] = {0, 0};
  const RowWriter writer(lengths, first_id, documents, o, rows.values);
  const auto count = static_cast<int64_t>(documents.size());
  if (o.threads <= 1) {
    writer.write(0, count, 0, num_tokens);
  } else {
    // More ranges than threads, so that a core with other work to do holds up nobody.
    const int64_t ranges = 8 * static_cast<int64_t>(o.threads);
    const auto bound = [&](int64_t range) {
      return count / ranges * range + std::min(count % ranges, range);
    };
    std::vector<int64_t> tokens(static_cast<size_t>(ranges) + 1);  // before each range
    parallel_for(ranges, o.threads, [&](int64_t range) {
      tokens[static_cast<size_t>(range) + 1] = writer.tokens(bound(range), bound(range + 1));
    });
    std::partial_sum(tokens.begin(), tokens.end(), tokens.begin());
    parallel_for(ranges, o.threads, [&](int64_t range) {
      const auto i = static_cast<size_t>(range);
      writer.write(bound(range), bound(range + 1), tokens[i], tokens[i + 1]);
    });
  }
  writer.write_rest(num_tokens);
  return rows.finish();
}

GptIndex build_gpt_index(std::span<const int32_t> lengths, int32_t first_id, const GptIndexOptions& o,
                         const std::string& where) {
  PHALANX_CHECK(o.seq_length > 0, "seq_length must be positive");
  if (o.seed < 0 || o.seed > 0xffffffff) {
    bad_input(where, fmt::format("seed {}", o.seed), "0 to 4294967295", "choose another seed (--seed)");
  }
  const EpochPlan plan = plan_epochs(lengths, o, where);
  const auto count = static_cast<int64_t>(lengths.size());
  if (count > kMaxDocumentEntries / plan.num_epochs) {
    bad_input(where, fmt::format("{} epochs of {} sequences", plan.num_epochs, count),
              fmt::format("at most {} in all", kMaxDocumentEntries), "train on fewer samples or more data");
  }
  const int64_t num_tokens = plan.num_epochs * plan.tokens_per_epoch;
  const int64_t num_samples = count_samples(num_tokens, o);
  if (num_samples < 1) {
    bad_input(where, fmt::format("{} tokens", num_tokens),
              fmt::format("at least {} for one sample of seq_length {}", o.seq_length + o.extra_tokens,
                          o.seq_length),
              "use a shorter seq_length, a larger share of the split, or more data");
  }
  if (num_samples > kMaxSamples) {
    bad_input(where, fmt::format("{} samples", num_samples), fmt::format("at most {}", kMaxSamples),
              "use a longer seq_length");
  }
  NumpyRandomState random(static_cast<uint32_t>(o.seed));
  GptIndex index{.num_epochs = plan.num_epochs, .separate_final_epoch = plan.separate_final};
  index.documents = build_documents(count, first_id, plan, random);
  // The shuffle needs no sample index, only the random state behind the document index.
  const int two = std::min(o.threads, 2);
  GptIndexOptions sample_options = o;
  sample_options.threads = std::max(1, o.threads - 1);
  parallel_for(2, two, [&](int64_t part) {
    if (part == 0) {
      index.samples =
          build_sample_index(lengths, first_id, index.documents.span(), num_tokens, sample_options);
    } else {
      index.shuffle = build_shuffle(num_samples, plan, random);
    }
  });
  return index;
}

}  // namespace phalanx
