#include "phalanx/data/tokenize_corpus.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <mutex>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "phalanx/base/clock.h"
#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/base/json.h"
#include "phalanx/base/threads.h"
#include "phalanx/data/corpus_sidecar.h"
#include "phalanx/data/publish_pair.h"
#include "phalanx/data/tokenizer_identity.h"

namespace phalanx {
namespace {

// What travels through the pipeline: a block and where it belongs.
struct BlockPlace {
  size_t part = 0;
  size_t file = 0;  // within the part
  uint64_t consumed = 0;
  uint64_t unpacked = 0;
  bool last_of_file = false;
};
struct ReadBlock {
  BlockPlace place;
  TextFormat format = TextFormat::kDocument;
  TextBlock text;
};
struct DoneBlock {
  BlockPlace place;
  EncodedBlock block;
};

// The blocks of all parts that are not finished yet, in order.
class BlockSource {
 public:
  BlockSource(const std::vector<CorpusPart>& parts, const std::vector<std::optional<FinishedPart>>& finished,
              const BlockLimits& limits)
      : parts_(parts), finished_(finished), limits_(limits) {}

  std::optional<ReadBlock> next() {
    if (!open_next()) return std::nullopt;
    ReadBlock out;
    const TextFile& file = parts_[part_].files[file_];
    out.format = file.format;
    out.text = blocks_->next();
    out.place = {.part = part_,
                 .file = file_,
                 .consumed = out.text.consumed,
                 .unpacked = out.text.unpacked,
                 .last_of_file = out.text.last};
    if (out.text.last) {
      check_unchanged(file);
      blocks_.reset();
      ++file_;
    }
    return out;
  }

 private:
  bool open_next() {
    while (!blocks_) {
      while (part_ < parts_.size() && (finished_[part_] || file_ == parts_[part_].files.size())) {
        ++part_;
        file_ = 0;
      }
      if (part_ == parts_.size()) return false;
      blocks_ = std::make_unique<TextBlocks>(parts_[part_].files[file_], limits_);
    }
    return true;
  }

  static void check_unchanged(const TextFile& file) {
    const TextFile now = stat_text_file(file.path);
    if (now.size == file.size && now.modified == file.modified) return;
    throw Error(ErrorKind::kBadInput, {.where = file.path,
                                       .got = "a file that changed while it was read",
                                       .needed = "input that stays as it is",
                                       .fix = "run again when nothing writes to it"});
  }

  const std::vector<CorpusPart>& parts_;
  const std::vector<std::optional<FinishedPart>>& finished_;
  BlockLimits limits_;
  std::unique_ptr<TextBlocks> blocks_;
  size_t part_ = 0;
  size_t file_ = 0;
};

// Encoders that are not in use: each thread takes one for a block.
class EncoderPool {
 public:
  EncoderPool(const Tokenizer& tokenizer, const EncodeSettings& settings)
      : tokenizer_(tokenizer), settings_(settings) {}

  EncodedBlock encode(const ReadBlock& block) {
    std::unique_ptr<BlockEncoder> encoder = take();
    EncodedBlock out = encoder->encode(block.text, block.format);
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(encoder));
    return out;
  }

 private:
  std::unique_ptr<BlockEncoder> take() {
    {
      const std::lock_guard lock(mutex_);
      if (!free_.empty()) {
        auto encoder = std::move(free_.back());
        free_.pop_back();
        return encoder;
      }
    }
    return std::make_unique<BlockEncoder>(tokenizer_, settings_);
  }

  const Tokenizer& tokenizer_;
  const EncodeSettings& settings_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<BlockEncoder>> free_;
};

class Job {
 public:
  explicit Job(const TokenizeOptions& options);
  TokenizeReport run();

 private:
  std::string settings_text() const;
  std::string pair_prefix(size_t column) const {
    return fmt::format("{}_{}_document", options_.output_prefix, options_.keys[column]);
  }
  std::set<std::string> own_paths() const;
  void check_inputs() const;
  void take_finished();
  void encode_rest();
  void check_not_empty() const;
  void take(DoneBlock done);
  void count(const DoneBlock& done);
  void finish_part(size_t part);
  void publish(size_t column);
  void show_progress(const BlockPlace& place) const;

  const TokenizeOptions& options_;
  std::unique_ptr<Tokenizer> tokenizer_;
  TokenizerIdentity identity_;
  EncodeSettings settings_;
  std::vector<TextFile> files_;
  std::vector<CorpusPart> parts_;
  std::vector<std::optional<FinishedPart>> finished_;
  std::optional<PartFolder> folder_;
  std::vector<std::unique_ptr<IndexedDatasetWriter>> writers_;  // of the part in work
  CorpusCounts part_counts_;                                    // of it, too
  CorpusCounts counts_;                                         // of everything so far
  int64_t file_line_ = 0;                                       // lines of the file in work
  int64_t bytes_before_ = 0;                                    // of the files before it
  int64_t bytes_total_ = 0;
  TokenizeReport report_;
};

Job::Job(const TokenizeOptions& options) : options_(options), tokenizer_(make_tokenizer(options.tokenizer)) {
  if (options.append_eod && !tokenizer_->eod()) {
    throw Error(ErrorKind::kBadInput, {.where = "--append-eod",
                                       .got = tokenizer_->name() + " without a token that ends a document",
                                       .needed = "such a token",
                                       .fix = "name it with --eod-token, or leave --append-eod out"});
  }
  identity_ = identify_tokenizer(options.tokenizer, *tokenizer_);
  settings_ = {.keys = options.keys,
               .append_eod = options.append_eod,
               .dtype = token_dtype_for_vocab(tokenizer_->vocab_size()),
               .max_document_bytes = options.max_document_bytes};
  files_ = list_text_files(options.inputs, options.format, own_paths());
  check_inputs();
  parts_ = plan_parts(files_, settings_text());
  for (const TextFile& file : files_) bytes_total_ += file.size;
}

std::string Job::settings_text() const {
  return fmt::format("{} {} eod {} {} dtype {} max {} keys {}", identity_.type, identity_.checksum,
                     options_.append_eod, tokenizer_->eod().value_or(-1), token_dtype_name(settings_.dtype),
                     options_.max_document_bytes, fmt::join(options_.keys, "\n"));
}

// What this output consists of, so that a folder that holds it can be the input.
std::set<std::string> Job::own_paths() const {
  std::set<std::string> own = {normal_path(options_.output_prefix + "_parts")};
  for (size_t k = 0; k < options_.keys.size(); ++k) {
    for (const char* extension : {".bin", ".idx", ".json"})
      own.insert(normal_path(pair_prefix(k) + extension));
  }
  return own;
}

void Job::check_inputs() const {
  const std::set<std::string> own = own_paths();
  for (const TextFile& file : files_) {
    if (!own.contains(normal_path(file.path))) continue;
    throw Error(ErrorKind::kBadInput, {.where = file.path,
                                       .got = "an input that is also the output",
                                       .needed = "two different files",
                                       .fix = "change --output-prefix"});
  }
}

void Job::take_finished() {
  for (const CorpusPart& part : parts_) {
    finished_.push_back(folder_->find(part));
    if (!finished_.back()) continue;
    ++report_.parts_reused;
    report_.bytes_reused += finished_.back()->counts.unpacked_bytes;
    counts_.add(finished_.back()->counts);
  }
}

TokenizeReport Job::run() {
  const double start = monotonic_seconds();
  const std::filesystem::path parent = std::filesystem::absolute(options_.output_prefix).parent_path();
  make_directories(parent.string());
  folder_.emplace(options_.output_prefix, options_.keys.size(), settings_.dtype);
  for (size_t k = 0; k < options_.keys.size(); ++k) remove_temporaries(pair_prefix(k) + ".", true);
  counts_.columns.resize(options_.keys.size());
  take_finished();
  encode_rest();
  options_.max_rejected.check(counts_.rejected, counts_.lines - counts_.blank_lines, true);
  check_not_empty();
  for (size_t k = 0; k < options_.keys.size(); ++k) publish(k);
  folder_->remove_parts();
  report_.counts = counts_;
  report_.dtype = settings_.dtype;
  report_.files = files_.size();
  report_.parts = parts_.size();
  report_.seconds = monotonic_seconds() - start;
  return report_;
}

void Job::check_not_empty() const {
  for (size_t k = 0; k < options_.keys.size(); ++k) {
    if (counts_.columns[k].tokens > 0) continue;
    folder_->remove_parts();  // worth nothing
    throw Error(
        ErrorKind::kBadInput,
        {.where = options_.inputs.front(),
         .got = fmt::format("no token for '{}' in {} lines ({} rejected, {} empty)", options_.keys[k],
                            counts_.lines, counts_.rejected.total(), counts_.columns[k].empty_documents),
         .needed = "text",
         .fix = "check the input and --json-keys"});
  }
}

void Job::encode_rest() {
  BlockSource source(parts_, finished_, {.max_bytes = static_cast<size_t>(options_.max_document_bytes)});
  EncoderPool encoders(*tokenizer_, settings_);
  OrderedPipeline<ReadBlock, DoneBlock> pipeline(options_.threads, 2 * int64_t{options_.threads} + 2);
  pipeline.run([&] { return source.next(); },
               [&](ReadBlock block) {
                 return DoneBlock{block.place, encoders.encode(block)};
               },
               [&](DoneBlock done) { take(std::move(done)); });
}

void Job::take(DoneBlock done) {
  const CorpusPart& part = parts_[done.place.part];
  if (writers_.empty()) {
    part_counts_ = CorpusCounts();
    part_counts_.columns.resize(options_.keys.size());
    for (size_t k = 0; k < options_.keys.size(); ++k)
      writers_.push_back(std::make_unique<IndexedDatasetWriter>(folder_->prefix(part, k), settings_.dtype));
  }
  for (size_t k = 0; k < writers_.size(); ++k) writers_[k]->add_packed(done.block.columns[k]);
  count(done);
  show_progress(done.place);
  if (!done.place.last_of_file) return;
  file_line_ = 0;
  part_counts_.input_bytes += part.files[done.place.file].size;
  if (done.place.file + 1 == part.files.size()) finish_part(done.place.part);
}

void Job::count(const DoneBlock& done) {
  CorpusCounts block;
  block.lines = done.block.lines;
  block.blank_lines = done.block.blank;
  block.repaired = done.block.repaired;
  block.unpacked_bytes = static_cast<int64_t>(done.place.unpacked);
  block.rejected.by_reason = done.block.rejected;
  const std::string& path = parts_[done.place.part].files[done.place.file].path;
  for (const RejectedLine& line : done.block.first_rejected) {
    block.rejected.examples.push_back(
        {fmt::format("{}:{}", path, file_line_ + line.line), line.rejection.detail});
  }
  for (size_t k = 0; k < options_.keys.size(); ++k) {
    const PackedDocuments& packed = done.block.columns[k];
    block.columns.push_back(
        {.sequences = static_cast<int64_t>(packed.lengths.size()),
         .documents = static_cast<int64_t>(packed.documents.size()),
         .empty_documents = std::count(packed.documents.begin(), packed.documents.end(), 0),
         .tokens = static_cast<int64_t>(packed.tokens.size()) / token_dtype_size(settings_.dtype),
         .text_bytes = done.block.text_bytes[k]});
  }
  file_line_ += done.block.lines;
  part_counts_.add(block);
  counts_.add(block);
  options_.max_rejected.check(counts_.rejected, counts_.lines - counts_.blank_lines, false);
}

void Job::finish_part(size_t part) {
  FinishedPart finished{.counts = part_counts_, .checksums = {}};
  for (const auto& writer : writers_) finished.checksums.push_back(writer->commit());
  folder_->record(parts_[part], finished);
  counts_.input_bytes += part_counts_.input_bytes;
  writers_.clear();
  finished_[part] = std::move(finished);
}

void Job::show_progress(const BlockPlace& place) const {
  if (!options_.on_progress) return;
  const int64_t done = counts_.input_bytes + part_counts_.input_bytes + static_cast<int64_t>(place.consumed);
  options_.on_progress({.input_bytes = done, .input_bytes_total = bytes_total_, .lines = counts_.lines});
}

void Job::publish(size_t column) {
  std::vector<PartPair> pairs;
  for (size_t i = 0; i < parts_.size(); ++i) {
    const ColumnCounts& counts = finished_[i]->counts.columns[column];
    pairs.push_back({.prefix = folder_->prefix(parts_[i], column),
                     .sequences = counts.sequences,
                     .documents = counts.documents,
                     .checksums = finished_[i]->checksums[column]});
  }
  const ColumnCounts& counts = counts_.columns[column];
  const std::string prefix = pair_prefix(column);
  remove_sidecar(prefix);
  const PairChecksums sums = publish_pair(pairs, settings_.dtype, prefix);
  write_sidecar(prefix, {.dtype = settings_.dtype,
                         .sequences = counts.sequences,
                         .documents = counts.documents,
                         .empty_documents = counts.empty_documents,
                         .tokens = counts.tokens,
                         .text_bytes = counts.text_bytes,
                         .tokenizer_type = identity_.type,
                         .tokenizer_model = identity_.model,
                         .tokenizer_checksum = identity_.checksum,
                         .vocab_size = tokenizer_->vocab_size(),
                         .append_eod = options_.append_eod,
                         .checksums = sums});
  report_.columns.push_back({.key = options_.keys[column], .prefix = prefix, .counts = counts});
}

}  // namespace

TokenizeReport tokenize_corpus(const TokenizeOptions& options) {
  return Job(options).run();
}

}  // namespace phalanx
