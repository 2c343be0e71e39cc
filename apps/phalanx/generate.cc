#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "apps/phalanx/model_flags.h"
#include "apps/phalanx/text_lines.h"
#include "apps/phalanx/verbs.h"
#include "phalanx/base/clock.h"
#include "phalanx/base/error.h"
#include "phalanx/base/json.h"
#include "phalanx/base/log.h"
#include "phalanx/infer/text_model.h"
#include "phalanx/tokenizer/stream_decoder.h"

namespace phalanx::apps {
namespace {

constexpr const char* kHelp =
    "usage: phalanx generate --model DIR (--prompt TEXT | --prompt-tokens 1,2,3 | --input IN.jsonl --output OUT.jsonl)\n"
    "                        [--batch N] [--max-tokens N] [--temperature T]\n"
    "                        [--top-k K] [--top-p P] [--seed S] [--dtype D] [--device D] [--threads N] [--json]\n"
    "                        [--tensor N] [--pipeline N]\n"
    "Writes the prompt and what the model makes of it, as it is made. --temperature 0 takes the likeliest token.\n"
    "DIR is a run folder, a checkpoint or a Hugging Face folder. --input has one prompt a line ({\"prompt\": \"..\"},\n"
    "\"text\" or \"tokens\"); --batch of them (32) run at a time, and OUT gets {\"tokens\": [..], \"text\": \"..\"} for each.\n"
    "--tensor and --pipeline share the model out to that many ranks, which are threads; the text stays the same.\n"
    "example: phalanx generate --model runs/demo --prompt \"The license\" --temperature 0.8 --top-k 40 --seed 1\n";

std::vector<int64_t> parse_ids(const std::string& text) {
  std::vector<int64_t> ids;
  size_t begin = 0;
  while (begin <= text.size()) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    if (word.empty() || word.size() > 18 || word.find_first_not_of("0123456789") != std::string::npos) {
      throw Error(ErrorKind::kUsage, {.where = "--prompt-tokens",
                                      .got = "'" + word + "'",
                                      .needed = "token ids with commas between",
                                      .fix = "for example --prompt-tokens 15,2,7"});
    }
    ids.push_back(std::stoll(word));
    begin = end + 1;
  }
  return ids;
}

// What can be refused before the model is read.
void check_usage(const GenerateOptions& options, int prompts) {
  validate(options.sampling);
  if (options.max_tokens < 0) {
    throw Error(ErrorKind::kUsage, {.where = "--max-tokens",
                                    .got = std::to_string(options.max_tokens),
                                    .needed = "a count of at least 0",
                                    .fix = "change the value"});
  }
  if (prompts > 1) {
    throw Error(ErrorKind::kUsage, {.where = "phalanx generate",
                                    .got = "more than one of --prompt, --prompt-tokens and --input",
                                    .needed = "one prompt, or one file of prompts",
                                    .fix = "keep one of them"});
  }
}

// What a tokenizer makes of it, where there is one.
Json line_of(const std::vector<int64_t>& tokens, const Tokenizer* tokenizer) {
  Json json = {{"tokens", tokens}};
  if (tokenizer != nullptr)
    json["text"] = valid_utf8(tokenizer->decode(std::vector<int32_t>(tokens.begin(), tokens.end())));
  return json;
}

void log_speed(size_t tokens, double before) {
  const double seconds = monotonic_seconds() - before;
  log_info(fmt::format("{} tokens, {:.1f} tokens/s", tokens, static_cast<double>(tokens) / seconds));
}

int generate_file(const ModelFlags& flags, GenerateOptions options) {
  const std::string input_path = flags.required("--input");
  const std::string output_path = flags.required("--output");
  const BatchLimits limits = batch_limits(flags);
  const std::string input = read_input(input_path);
  const ModelFolder folder = open_model(flags.model);
  std::vector<std::vector<int64_t>> prompts;
  for (ScoreText& text : texts_of(input, input_path, folder)) {
    check_tokens(folder.config, text.tokens, text.where);
    prompts.push_back(std::move(text.tokens));
  }
  const std::unique_ptr<TextModel> model = load_text_model(folder, flags.load);
  options.end_tokens = folder.end_tokens;
  if (folder.tokenizer != nullptr) options.vocab_limit = folder.tokenizer->vocab_size();
  const double before = monotonic_seconds();
  std::string output;
  size_t made = 0;
  for (const std::vector<int64_t>& tokens :
       model->generate_all(prompts, options, limits, [](size_t, int64_t) { return true; })) {
    output += line_of(tokens, folder.tokenizer.get()).dump() + "\n";
    made += tokens.size();
  }
  write_output(output_path, output);
  log_speed(made, before);
  return 0;
}

}  // namespace

int run_generate(const Arguments& args) {
  const ModelFlags flags = parse_model_flags("generate", args,
                                             {{"--prompt", FlagKind::kValue},
                                              {"--prompt-tokens", FlagKind::kValue},
                                              {"--input", FlagKind::kValue},
                                              {"--output", FlagKind::kValue},
                                              {"--batch", FlagKind::kValue},
                                              {"--max-tokens", FlagKind::kValue},
                                              {"--temperature", FlagKind::kValue},
                                              {"--top-k", FlagKind::kValue},
                                              {"--top-p", FlagKind::kValue},
                                              {"--seed", FlagKind::kValue},
                                              {"--json", FlagKind::kSwitch}});
  if (flags.help) {
    print_line(kHelp);
    return 0;
  }
  GenerateOptions options;
  options.sampling = {.temperature = flags.number("--temperature", 1.0),
                      .top_k = flags.integer("--top-k", 0),
                      .top_p = flags.number("--top-p", 1.0),
                      .seed = static_cast<uint64_t>(flags.integer("--seed", 1234))};
  options.max_tokens = flags.integer("--max-tokens", 128);
  const bool by_ids = flags.parsed.has("--prompt-tokens");
  const bool by_file = flags.parsed.has("--input");
  check_usage(options, by_ids + by_file + flags.parsed.has("--prompt"));
  if (by_file) return generate_file(flags, options);
  const std::string text = by_ids ? "" : flags.required("--prompt");
  const ModelFolder folder = open_model(flags.model);
  const std::unique_ptr<TextModel> model = load_text_model(folder, flags.load);
  const Tokenizer* tokenizer = by_ids ? folder.tokenizer.get() : &require_tokenizer(folder);

  std::vector<int64_t> prompt;
  if (by_ids) {
    prompt = parse_ids(flags.parsed.option("--prompt-tokens"));
  } else {
    const auto ids = tokenizer->encode(text);
    prompt.assign(ids.begin(), ids.end());
  }
  check_tokens(folder.config, prompt, by_ids ? "--prompt-tokens" : "--prompt");
  options.end_tokens = folder.end_tokens;
  if (tokenizer != nullptr) options.vocab_limit = tokenizer->vocab_size();
  const bool as_json = flags.parsed.has("--json");
  const bool as_text = tokenizer != nullptr && !as_json;
  if (as_text) print_text(text);
  std::optional<StreamDecoder> decoder;
  if (as_text) decoder.emplace(*tokenizer);
  const double before = monotonic_seconds();
  const std::vector<int64_t> made = model->generate(prompt, options, [&](int64_t token) {
    if (as_text && !options.ends(token)) print_text(decoder->push(static_cast<int32_t>(token)));
    return true;
  });
  if (as_text) {
    print_text(decoder->finish() + "\n");
  } else {
    Json json = line_of(made, tokenizer);
    json["prompt_tokens"] = prompt;
    print_line(json.dump());
  }
  log_speed(made.size(), before);
  return 0;
}

}  // namespace phalanx::apps
