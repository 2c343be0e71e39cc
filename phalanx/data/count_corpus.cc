#include "phalanx/data/count_corpus.h"

#include <mutex>
#include <optional>

#include "phalanx/base/error.h"
#include "phalanx/base/threads.h"
#include "phalanx/data/jsonl_reader.h"
#include "phalanx/data/text_blocks.h"

namespace phalanx {
namespace {

// The blocks of all files, handed out under a lock.
class SharedBlocks {
 public:
  explicit SharedBlocks(const std::vector<TextFile>& files) : files_(files) {}

  std::optional<std::pair<TextBlock, TextFormat>> next() {
    const std::lock_guard lock(mutex_);
    if (!blocks_) {
      if (file_ == files_.size()) return std::nullopt;
      blocks_.emplace(files_[file_], BlockLimits{});
    }
    std::pair<TextBlock, TextFormat> result{blocks_->next(), files_[file_].format};
    if (result.first.last) {
      blocks_.reset();
      ++file_;
    }
    return result;
  }

 private:
  const std::vector<TextFile>& files_;
  std::mutex mutex_;
  size_t file_ = 0;
  std::optional<TextBlocks> blocks_;
};

class BlockCounter {
 public:
  explicit BlockCounter(const CountOptions& options)
      : corpus_{.words = WordCounter(options.pattern, options.add_prefix_space)},
        reader_(options.keys),
        num_keys_(options.keys.size()) {}

  void count(const TextBlock& block, TextFormat format) {
    const std::string_view text = block.text.text();
    const bool document = format == TextFormat::kDocument;
    if (block.too_long || (document && text.find('\0') != std::string_view::npos)) {
      ++corpus_.rejected;
    } else if (document) {
      add(text);
    } else {
      count_lines(text);
    }
  }
  CountedCorpus take() { return std::move(corpus_); }
  const CountedCorpus& corpus() const { return corpus_; }

 private:
  void count_lines(std::string_view text) {
    while (!text.empty()) {
      const size_t end = text.find('\n');
      const std::string_view line = text.substr(0, end);
      text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
      if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
      if (reader_.read(line)) {
        ++corpus_.rejected;
        continue;
      }
      for (size_t key = 0; key < num_keys_; ++key) {
        for (const std::string_view part : reader_.texts(key)) add(part);
      }
    }
  }
  void add(std::string_view text) {
    if (text.empty()) return;
    corpus_.words.add(text);
    corpus_.bytes += static_cast<int64_t>(text.size());
    ++corpus_.documents;
  }

  CountedCorpus corpus_;
  JsonlReader reader_;
  size_t num_keys_;
};

}  // namespace

CountedCorpus count_corpus(const CountOptions& options) {
  SharedBlocks blocks(options.files);
  std::vector<BlockCounter> counters;
  for (int t = 0; t < options.threads; ++t) counters.emplace_back(options);
  parallel_ranges(options.threads, options.threads, [&](int t, int64_t, int64_t) {
    while (const auto block = blocks.next())
      counters[static_cast<size_t>(t)].count(block->first, block->second);
  });
  CountedCorpus all = counters[0].take();
  for (size_t t = 1; t < counters.size(); ++t) {
    const CountedCorpus& part = counters[t].corpus();
    all.words.merge(part.words);
    all.documents += part.documents;
    all.bytes += part.bytes;
    all.rejected += part.rejected;
  }
  if (all.documents == 0) {
    throw Error(ErrorKind::kBadInput,
                {.where = "the input",
                 .got = std::to_string(options.files.size()) + " files without a document, " +
                        std::to_string(all.rejected) + " rejected",
                 .needed = "text",
                 .fix = "check --input and --json-keys"});
  }
  return all;
}

}  // namespace phalanx
