#include <fmt/format.h>

#include "apps/phalanx/data_verbs.h"
#include "phalanx/base/json.h"
#include "phalanx/data/merge_corpora.h"

namespace phalanx::apps {
namespace {

constexpr const char* kHelp =
    "usage: phalanx data merge --input PREFIX_OR_FOLDER... --output-prefix P [--json]\n"
    "One pair P.bin and P.idx of several: their documents one behind the other, a folder's pairs sorted by name.\n"
    "example: phalanx data merge --input data/a_text_document data/b_text_document --output-prefix data/ab\n";

}  // namespace

int run_data_merge(const Arguments& args) {
  if (answers_help(args, kHelp)) return 0;
  const ParsedFlags flags = parse_flags(args, ConfigTree(),
                                        {.aliases = {{"--input", "", FlagKind::kWords},
                                                     {"--output-prefix", ""},
                                                     {"--json", "", FlagKind::kSwitch}},
                                         .megatron = false});
  required_option(flags, "data merge", "--input");
  const std::string output = required_option(flags, "data merge", "--output-prefix");
  const MergedCorpus merged = merge_corpora(flags.options.at("--input"), output);
  if (flags.has("--json")) {
    print_line(Json{{"prefix", merged.prefix},
                    {"inputs", merged.inputs},
                    {"sequences", merged.sequences},
                    {"documents", merged.documents},
                    {"tokens", merged.tokens},
                    {"dtype", std::string(token_dtype_name(merged.dtype))}}
                   .dump());
  } else {
    print_line(fmt::format("{} pairs, {} documents, {} sequences, {} tokens: {}.bin", merged.inputs,
                           merged.documents, merged.sequences, merged.tokens, merged.prefix));
  }
  return 0;
}

}  // namespace phalanx::apps
