#include "phalanx/data/verify_corpus.h"

#include <algorithm>
#include <mutex>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/base/threads.h"
#include "phalanx/data/corpus_sidecar.h"
#include "phalanx/data/indexed_dataset.h"
#include "phalanx/shard/checksum.h"

namespace phalanx {
namespace {

constexpr int64_t kReadAtOnce = int64_t{1} << 16;

[[noreturn]] void throw_id(const IndexedDataset& data, int64_t sequence, int64_t id, int64_t vocab_size) {
  throw Error(ErrorKind::kBadInput,
              {.where = fmt::format("{}: sequence {}", data.prefix(), sequence),
               .got = fmt::format("token id {}", id),
               .needed = vocab_size > 0 ? fmt::format("ids from 0 to {}", vocab_size - 1)
                                        : std::string("ids that are not negative"),
               .fix = "the file is damaged, or was made with another tokenizer; tokenize again"});
}

// The largest id of the sequences in [begin, end).
int64_t check_tokens(const IndexedDataset& data, int64_t begin, int64_t end, int64_t vocab_size) {
  int64_t largest = -1;
  std::vector<int64_t> tokens;
  for (int64_t s = begin; s < end; ++s) {
    for (int64_t at = 0; at < data.length(s); at += kReadAtOnce) {
      tokens.resize(static_cast<size_t>(std::min(kReadAtOnce, data.length(s) - at)));
      data.read(s, at, tokens);
      const auto [low, high] = std::minmax_element(tokens.begin(), tokens.end());
      if (*low < 0) throw_id(data, s, *low, vocab_size);
      if (vocab_size > 0 && *high >= vocab_size) throw_id(data, s, *high, vocab_size);
      largest = std::max(largest, *high);
    }
  }
  return largest;
}

void check_sidecar(const IndexedDataset& data, const CorpusSidecar& sidecar) {
  std::vector<std::string> faults;
  const auto compare = [&](const char* what, auto here, auto written) {
    if (here != written) faults.push_back(fmt::format("{} {} instead of {}", what, here, written));
  };
  compare("dtype", token_dtype_name(data.dtype()), token_dtype_name(sidecar.dtype));
  compare("sequences", data.num_sequences(), sidecar.sequences);
  compare("documents", data.num_documents(), sidecar.documents);
  compare("tokens", data.num_tokens(), sidecar.tokens);
  const auto checksum = [&](const char* extension, uint64_t written) {
    const MappedFile file(data.prefix() + extension);
    compare((std::string("checksum of ") + extension).c_str(), checksum_to_text(checksum_of(file.bytes())),
            checksum_to_text(written));
  };
  checksum(".bin", sidecar.checksums.bin);
  checksum(".idx", sidecar.checksums.idx);
  if (faults.empty()) return;
  throw Error(ErrorKind::kBadInput,
              {.where = data.prefix(),
               .got = fmt::format("{}", fmt::join(faults, "; ")),
               .needed = "what " + sidecar_path(data.prefix()) + " says was written",
               .fix = "the files are damaged or of another run; fetch them or tokenize again"});
}

}  // namespace

VerifiedCorpus verify_corpus(const std::string& prefix, int64_t vocab_size, int threads) {
  const IndexedDataset data(prefix);
  const std::optional<CorpusSidecar> sidecar = read_sidecar(data.prefix());
  if (sidecar) check_sidecar(data, *sidecar);
  if (vocab_size == 0 && sidecar) vocab_size = sidecar->vocab_size;
  std::mutex mutex;
  int64_t largest = -1;
  parallel_ranges(data.num_sequences(), threads, [&](int, int64_t begin, int64_t end) {
    const int64_t found = check_tokens(data, begin, end, vocab_size);
    const std::lock_guard lock(mutex);
    largest = std::max(largest, found);
  });
  return {.prefix = data.prefix(),
          .dtype = data.dtype(),
          .sequences = data.num_sequences(),
          .documents = data.num_documents(),
          .tokens = data.num_tokens(),
          .largest_id = largest,
          .vocab_size = vocab_size,
          .has_sidecar = sidecar.has_value()};
}

}  // namespace phalanx
