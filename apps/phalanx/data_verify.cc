#include <fmt/format.h>

#include "apps/phalanx/data_verbs.h"
#include "apps/phalanx/tokenizer_flags.h"
#include "phalanx/base/json.h"
#include "phalanx/base/threads.h"
#include "phalanx/data/verify_corpus.h"

namespace phalanx::apps {
namespace {

constexpr const char* kHelp =
    "usage: phalanx data verify PREFIX [--vocab-size N | --tokenizer-type T ...] [--json]\n"
    "Checks every entry of PREFIX.idx against PREFIX.bin, every token id against the vocabulary (of the tokenizer, or as\n"
    "PREFIX.json says), and both files against the checksums in PREFIX.json where it is there.\n"
    "example: phalanx data verify data/notes_text_document\n";

}  // namespace

int run_data_verify(const Arguments& args) {
  if (answers_help(args, kHelp)) return 0;
  FlagRules rules{.aliases = {{"--json", "", FlagKind::kSwitch}}, .megatron = false};
  add_tokenizer_flags(rules.aliases);
  const ParsedFlags flags = parse_flags(args, ConfigTree(), rules);
  const std::string prefix = one_positional(flags, "data verify", "PREFIX");
  const TokenizerOptions options = tokenizer_options_of(flags);
  const int64_t vocab_size =
      options.type.empty() ? options.vocab_size : make_tokenizer(options)->vocab_size();
  const VerifiedCorpus found = verify_corpus(prefix, vocab_size, thread_count(0));
  if (flags.has("--json")) {
    print_line(Json{{"prefix", found.prefix},
                    {"sequences", found.sequences},
                    {"documents", found.documents},
                    {"tokens", found.tokens},
                    {"dtype", std::string(token_dtype_name(found.dtype))},
                    {"largest_id", found.largest_id},
                    {"vocab_size", found.vocab_size},
                    {"checksums", found.has_sidecar}}
                   .dump());
    return 0;
  }
  print_line(fmt::format("{}: whole. {} documents, {} sequences, {} tokens of {}, largest id {}; {}; {}",
                         found.prefix, found.documents, found.sequences, found.tokens,
                         token_dtype_name(found.dtype), found.largest_id,
                         found.vocab_size > 0 ? fmt::format("all below {}", found.vocab_size)
                                              : std::string("the vocabulary is not known"),
                         found.has_sidecar ? "checksums agree" : "no .json with checksums"));
  return 0;
}

}  // namespace phalanx::apps
