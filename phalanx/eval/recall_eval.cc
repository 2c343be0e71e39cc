#include "phalanx/eval/recall_eval.h"

#include <algorithm>
#include <cctype>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

// Past the answer's own tokens: a model that spells it in other pieces may still finish its line.
constexpr int64_t kSpareTokens = 8;

std::string letters_and_digits(const std::string& text) {
  std::string kept;
  for (const char c : text) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) kept += c;
  }
  return kept;
}

std::vector<int64_t> ids_of(const Tokenizer& tokenizer, const std::string& text) {
  const std::vector<int32_t> ids = tokenizer.encode(text);
  return {ids.begin(), ids.end()};
}

}  // namespace

double answer_overlap(const std::string& wanted, const std::string& made) {
  const std::string want = letters_and_digits(wanted);
  const std::string have = letters_and_digits(made);
  if (want.empty()) return 1;
  int64_t equal = 0;
  for (size_t i = 0; i < std::min(want.size(), have.size()); ++i) equal += want[i] == have[i];
  return static_cast<double>(equal) / static_cast<double>(want.size());
}

AnswerLine answer_line(const std::string& made) {
  const size_t begin = made.find_first_not_of(" \t\r\n");
  if (begin == std::string::npos) return {};
  const size_t end = made.find('\n', begin);
  return {.text = made.substr(begin, end == std::string::npos ? end : end - begin),
          .complete = end != std::string::npos};
}

int64_t RecallResult::exact() const {
  return std::ranges::count_if(answers, [](const RecallAnswer& answer) { return answer.exact(); });
}

double RecallResult::overlap() const {
  double sum = 0;
  for (const RecallAnswer& answer : answers) sum += answer_overlap(answer.wanted, answer.made);
  return answers.empty() ? 0 : sum / static_cast<double>(answers.size());
}

RecallResult eval_recall(TextModel& model, const ModelFolder& folder, const RecallEvalOptions& options) {
  PHALANX_CHECK(options.count > 0, "there is something to ask");
  const Tokenizer& tokenizer = require_tokenizer(folder);
  RecallResult result;
  std::vector<std::vector<int64_t>> prompts;
  GenerateOptions generate{.sampling = {.temperature = 0},
                           .max_tokens = 0,
                           .end_tokens = folder.end_tokens,
                           .vocab_limit = tokenizer.vocab_size()};
  for (int64_t index = options.first; index < options.first + options.count; ++index) {
    RecallSample sample = make_recall_sample(options.spec, options.stream, index);
    prompts.push_back(ids_of(tokenizer, sample.prompt));
    const auto length = static_cast<int64_t>(prompts.back().size());
    result.prompt_tokens += length;
    result.longest_prompt = std::max(result.longest_prompt, length);
    const auto answer = static_cast<int64_t>(tokenizer.encode(" " + sample.answer + "\n").size());
    generate.max_tokens = std::max(generate.max_tokens, answer + kSpareTokens);
    result.answers.push_back({.index = index,
                              .entries = sample.entries,
                              .depth = sample.depth,
                              .wanted = std::move(sample.answer)});
  }
  std::vector<std::string> texts(prompts.size());
  const auto on_token = [&](size_t sequence, int64_t token) {
    std::string& text = texts[sequence];
    text += tokenizer.piece(static_cast<int32_t>(token), text.empty());
    return !answer_line(text).complete;
  };
  model.generate_all(prompts, generate, options.limits, on_token);
  for (size_t i = 0; i < texts.size(); ++i) result.answers[i].made = answer_line(texts[i]).text;
  return result;
}

}  // namespace phalanx
