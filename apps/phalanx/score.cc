#include <algorithm>

#include "apps/phalanx/model_flags.h"
#include "apps/phalanx/text_lines.h"
#include "apps/phalanx/verbs.h"
#include "phalanx/base/error.h"
#include "phalanx/base/json.h"
#include "phalanx/infer/text_model.h"

namespace phalanx::apps {
namespace {

constexpr const char* kHelp =
    "usage: phalanx score --model DIR --input IN.jsonl --output OUT.jsonl [--dtype D] [--device D] [--threads N]\n"
    "                     [--tensor N] [--pipeline N]\n"
    "A line {\"tokens\": [..]} or {\"text\": \"..\"} gives {\"logprobs\": [..]}: the natural log probability of token i + 1\n"
    "given tokens 0 .. i. DIR is a run folder, a checkpoint or a Hugging Face folder. '-' is stdin or stdout.\n"
    "--tensor and --pipeline share the model out to that many ranks, which are threads; the numbers stay the same.\n"
    "example: phalanx score --model runs/demo --input in.jsonl --output -\n";

}  // namespace

int run_score(const Arguments& args) {
  const ModelFlags flags =
      parse_model_flags("score", args, {{"--input", FlagKind::kValue}, {"--output", FlagKind::kValue}});
  if (flags.help) {
    print_line(kHelp);
    return 0;
  }
  const std::string input_path = flags.required("--input");
  const std::string output_path = flags.required("--output");
  const std::string input = read_input(input_path);
  const ModelFolder folder = open_model(flags.model);
  const std::unique_ptr<TextModel> model = load_text_model(folder, flags.load);
  const std::vector<ScoreText> texts = texts_of(input, input_path, folder);
  std::string output;
  for (const std::vector<double>& logprobs : model->score(texts)) {
    output += Json({{"logprobs", logprobs}}).dump() + "\n";
  }
  const auto is_beyond = [&](const ScoreText& text) {
    return beyond_rotary_positions(folder.config, static_cast<int64_t>(text.tokens.size()));
  };
  if (std::ranges::any_of(texts, is_beyond)) warn_beyond_rotary_positions(folder.config);
  write_output(output_path, output);
  return 0;
}

}  // namespace phalanx::apps
