#include <cstring>
#include <numeric>

#include "apps/phalanx/bench_verbs.h"
#include "apps/phalanx/data_verbs.h"
#include "apps/phalanx/tokenizer_flags.h"
#include "phalanx/base/clock.h"
#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/base/json.h"
#include "phalanx/data/gpt_index.h"
#include "phalanx/data/jsonl_reader.h"
#include "phalanx/data/numpy_random.h"
#include "phalanx/tokenizer/encode_speed.h"

namespace phalanx::apps {
namespace {

void print_result(const ParsedFlags& flags, const Json& result) {
  if (flags.has("--json")) return print_line(result.dump());
  for (const auto& [key, value] : result.items()) print_line(key + " " + value.dump());
}

std::vector<std::string> texts_of(const std::string& path) {
  // The parser wants readable bytes behind each line.
  const std::string all = read_file(path) + std::string(JsonlReader::kPadding, ' ');
  std::string_view left(all.data(), all.size() - JsonlReader::kPadding);
  JsonlReader reader({"text"});
  std::vector<std::string> texts;
  for (int64_t line = 1; !left.empty(); ++line) {
    const size_t end = std::min(left.find('\n'), left.size());
    if (const auto rejection = reader.read(left.substr(0, end))) {
      throw Error(ErrorKind::kBadInput, {.where = path + ":" + std::to_string(line),
                                         .got = rejection->detail,
                                         .needed = "an object with a field text",
                                         .fix = "check --input"});
    }
    for (const std::string_view text : reader.texts(0)) texts.emplace_back(text);
    left.remove_prefix(std::min(end + 1, left.size()));
  }
  return texts;
}

std::vector<int32_t> lengths_of(const std::string& path) {
  const std::string bytes = read_file(path);
  std::vector<int32_t> lengths(bytes.size() / sizeof(int32_t));
  std::memcpy(lengths.data(), bytes.data(), lengths.size() * sizeof(int32_t));
  return lengths;
}

}  // namespace

int run_bench_tokenizer(const Arguments& args) {
  FlagRules rules{.aliases = {{"--input", ""}, {"--json", "", FlagKind::kSwitch}}, .megatron = false};
  add_tokenizer_flags(rules.aliases);
  const ParsedFlags flags = parse_flags(args, ConfigTree(), rules);
  required_option(flags, "bench tokenizer", "--tokenizer-type");
  const std::vector<std::string> texts = texts_of(required_option(flags, "bench tokenizer", "--input"));
  const TokenizerBenchResult r = bench_encode(tokenizer_options_of(flags), texts);
  print_result(flags, {{"mb_s", r.bytes_per_second() / 1e6},
                       {"load_seconds", r.load_seconds},
                       {"encode_seconds", r.encode_seconds},
                       {"texts", r.texts},
                       {"bytes", r.bytes},
                       {"tokens", r.tokens},
                       {"checksum", r.checksum}});
  return 0;
}

// The same three steps as Megatron's: shuffle the documents of all epochs, find the samples, shuffle those.
int run_bench_order(const Arguments& args) {
  const ParsedFlags flags = parse_flags(args, ConfigTree(),
                                        {.aliases = {{"--lengths", ""},
                                                     {"--samples", ""},
                                                     {"--seq-length", ""},
                                                     {"--threads", ""},
                                                     {"--json", "", FlagKind::kSwitch}},
                                         .megatron = false});
  const std::vector<int32_t> lengths = lengths_of(required_option(flags, "bench order", "--lengths"));
  const int64_t wanted = whole_number(flags, "--samples", "10000000");
  const int64_t seq_length = whole_number(flags, "--seq-length", "1024");
  const int64_t epoch = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  if (epoch == 0 || seq_length == 0) {
    throw Error(ErrorKind::kBadInput, {.where = "phalanx bench order",
                                       .got = "no tokens or --seq-length 0",
                                       .needed = "lengths and a sequence length above 0",
                                       .fix = "check --lengths and --seq-length"});
  }
  const int64_t epochs = (wanted * seq_length + epoch - 1) / epoch;
  std::vector<int32_t> documents;
  for (int64_t e = 0; e < epochs; ++e) {
    for (size_t d = 0; d < lengths.size(); ++d) documents.push_back(static_cast<int32_t>(d));
  }
  NumpyRandomState random(1);
  double before = monotonic_seconds();
  random.shuffle(std::span(documents));
  const double shuffle_documents = monotonic_seconds() - before;

  const int threads = static_cast<int>(std::clamp<int64_t>(whole_number(flags, "--threads", "1"), 1, 1024));
  before = monotonic_seconds();
  const SampleIndex index =
      build_sample_index(lengths, 0, documents, epochs * epoch,
                         {.num_samples = wanted, .seq_length = seq_length, .threads = threads});
  const double sample_index = monotonic_seconds() - before;
  const auto rows = index.span();
  std::vector<uint32_t> order(rows.size() - 1);
  before = monotonic_seconds();
  std::iota(order.begin(), order.end(), 0U);
  random.shuffle(std::span(order));
  const double shuffle_samples = monotonic_seconds() - before;

  uint64_t index_sum = 0, order_sum = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    index_sum += (i + 1) * (uint64_t{rows[i].position} * 4096 + static_cast<uint64_t>(rows[i].offset));
  }
  for (size_t i = 0; i < order.size(); ++i) order_sum += (i + 1) * order[i];
  print_result(flags, {{"samples", order.size()},
                       {"shuffle_documents_s", shuffle_documents},
                       {"sample_index_s", sample_index},
                       {"shuffle_samples_s", shuffle_samples},
                       {"index_checksum", index_sum},
                       {"order_checksum", order_sum}});
  return 0;
}

}  // namespace phalanx::apps
