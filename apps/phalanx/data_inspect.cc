#include <fmt/format.h>

#include <algorithm>

#include "apps/phalanx/data_verbs.h"
#include "apps/phalanx/tokenizer_flags.h"
#include "phalanx/base/error.h"
#include "phalanx/base/json.h"
#include "phalanx/data/corpus_report.h"
#include "phalanx/data/corpus_sidecar.h"

namespace phalanx::apps {
namespace {

constexpr const char* kHelp =
    "usage: phalanx data inspect PREFIX [--first N] [--max-tokens M] [--tokenizer-type T ...] [--json]\n"
    "Counts, dtype and a histogram of document lengths of PREFIX.bin and .idx, and the first N (3) documents: as text\n"
    "when a tokenizer is named (--tokenizer-type, --tokenizer-model, --vocab-file, --merge-file), else as ids; at most\n"
    "M (64) tokens of each.\n"
    "example: phalanx data inspect data/notes_text_document --tokenizer-type ByteTokenizer --first 5\n";

constexpr int64_t kFirstTokens = 16;

struct Shown {
  int64_t document = 0;
  int64_t length = 0;
  std::vector<int64_t> tokens;
  std::optional<std::string> text;
};

std::vector<Shown> first_documents(const ParsedFlags& flags, const IndexedDataset& data) {
  int64_t count = std::min<int64_t>(3, data.num_documents());
  if (flags.has("--first")) {
    count = whole_number(flags, "--first", "");
    if (count > data.num_documents()) {
      throw Error(ErrorKind::kBadInput, {.where = "--first",
                                         .got = std::to_string(count),
                                         .needed = fmt::format("at most {}, the documents of {}",
                                                               data.num_documents(), data.prefix()),
                                         .fix = "lower it"});
    }
  }
  const int64_t limit = whole_number(flags, "--max-tokens", "64");
  std::unique_ptr<Tokenizer> tokenizer;
  const TokenizerOptions options = tokenizer_options_of(flags);
  if (!options.type.empty()) {
    tokenizer = make_tokenizer(options);
  } else if (!options.model.empty() || !options.vocab_file.empty()) {
    required_option(flags, "data inspect", "--tokenizer-type");
  }
  std::vector<Shown> shown;
  for (int64_t d = 0; d < count; ++d) {
    Shown one{.document = d, .length = 0, .tokens = document_tokens(data, d, limit), .text = std::nullopt};
    for (int64_t s = data.document_begin(d); s < data.document_begin(d + 1); ++s)
      one.length += data.length(s);
    if (tokenizer) one.text = document_text(data, d, *tokenizer, limit);
    shown.push_back(std::move(one));
  }
  return shown;
}

Json json_of(const IndexedDataset& data, const CorpusLengths& lengths, const std::vector<Shown>& shown) {
  Json histogram = Json::array();
  for (const LengthBucket& bucket : lengths.histogram) {
    histogram.push_back({{"from", bucket.low},
                         {"to", bucket.high},
                         {"documents", bucket.documents},
                         {"tokens", bucket.tokens}});
  }
  Json documents = Json::array();
  for (const Shown& one : shown) {
    Json item = {{"index", one.document}, {"length", one.length}, {"tokens", one.tokens}};
    if (one.text) item["text"] = *one.text;
    documents.push_back(std::move(item));
  }
  std::vector<int64_t> first(static_cast<size_t>(std::min(kFirstTokens, data.length(0))));
  data.read(0, 0, first);
  return {{"prefix", data.prefix()},
          {"sequences", data.num_sequences()},
          {"documents", data.num_documents()},
          {"empty_documents", lengths.empty_documents},
          {"tokens", data.num_tokens()},
          {"dtype", std::string(token_dtype_name(data.dtype()))},
          {"first_tokens", first},
          {"lengths",
           {{"min", lengths.shortest},
            {"median", lengths.median},
            {"mean", lengths.mean},
            {"max", lengths.longest},
            {"histogram", histogram}}},
          {"first_documents", documents}};
}

std::string text_of(const IndexedDataset& data, const CorpusLengths& lengths,
                    const std::vector<Shown>& shown) {
  std::string out = fmt::format("{}\n{} documents ({} empty), {} sequences, {} tokens of {}\n", data.prefix(),
                                data.num_documents(), lengths.empty_documents, data.num_sequences(),
                                data.num_tokens(), token_dtype_name(data.dtype()));
  if (const auto sidecar = read_sidecar(data.prefix())) {
    out += fmt::format("made with {} {}, vocabulary {}\n", sidecar->tokenizer_type, sidecar->tokenizer_model,
                       sidecar->vocab_size);
  }
  out += fmt::format("length: {} to {}, median {}, mean {:.1f} tokens\n", lengths.shortest, lengths.longest,
                     lengths.median, lengths.mean);
  out += fmt::format("{:>21} {:>12} {:>6}\n", "tokens", "documents", "share") + histogram_text(lengths);
  for (const Shown& one : shown) {
    std::string body;
    for (const int64_t token : one.tokens) body += fmt::format("{}{}", body.empty() ? "" : " ", token);
    out += fmt::format("document {}, {} tokens: {}\n", one.document, one.length, one.text ? *one.text : body);
  }
  return out;
}

}  // namespace

int run_data_inspect(const Arguments& args) {
  if (answers_help(args, kHelp)) return 0;
  FlagRules rules{.aliases = {{"--first", ""}, {"--max-tokens", ""}, {"--json", "", FlagKind::kSwitch}},
                  .megatron = false};
  add_tokenizer_flags(rules.aliases);
  const ParsedFlags flags = parse_flags(args, ConfigTree(), rules);
  const IndexedDataset data(one_positional(flags, "data inspect", "PREFIX"));
  const CorpusLengths lengths = measure_lengths(data);
  const std::vector<Shown> shown = first_documents(flags, data);
  print_line(flags.has("--json") ? json_of(data, lengths, shown).dump() : text_of(data, lengths, shown));
  return 0;
}

}  // namespace phalanx::apps
