#include "apps/phalanx/model_flags.h"

#include <ATen/Parallel.h>

#include <charconv>
#include <thread>

#include "phalanx/base/error.h"
#include "phalanx/tensor/device.h"

namespace phalanx::apps {
namespace {

template <typename T>
T parse_number(const std::string& flag, const std::string& text, const char* needed) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw Error(ErrorKind::kUsage,
                {.where = flag, .got = "'" + text + "'", .needed = needed, .fix = "change the value"});
  }
  return value;
}

at::ScalarType parse_dtype(const std::string& text) {
  if (text == "fp64") return at::kDouble;
  if (text == "fp32") return at::kFloat;
  if (text == "bf16") return at::kBFloat16;
  throw Error(ErrorKind::kUsage, {.where = "--dtype",
                                  .got = "'" + text + "'",
                                  .needed = "fp64, fp32 or bf16",
                                  .fix = "use one of these"});
}

at::Device parse_device(const std::string& text) {
  if (text == "cpu" || text == "cuda") return checked_device(text == "cuda");
  throw Error(
      ErrorKind::kUsage,
      {.where = "--device", .got = "'" + text + "'", .needed = "cpu or cuda", .fix = "use one of these"});
}

}  // namespace

std::string ModelFlags::required(const std::string& flag) const {
  if (parsed.has(flag)) return parsed.option(flag);
  throw Error(ErrorKind::kUsage, {.where = "phalanx " + verb,
                                  .got = "no " + flag,
                                  .needed = flag + " VALUE",
                                  .fix = "phalanx " + verb + " --help shows an example"});
}

double ModelFlags::number(const std::string& flag, double otherwise) const {
  return parsed.has(flag) ? parse_number<double>(flag, parsed.option(flag), "a number") : otherwise;
}

int64_t ModelFlags::integer(const std::string& flag, int64_t otherwise) const {
  return parsed.has(flag) ? parse_number<int64_t>(flag, parsed.option(flag), "a whole number") : otherwise;
}

BatchLimits batch_limits(const ModelFlags& flags) {
  const BatchLimits limits{.sequences = flags.integer("--batch", BatchLimits().sequences)};
  if (limits.sequences >= 1) return limits;
  throw Error(ErrorKind::kUsage, {.where = "--batch",
                                  .got = std::to_string(limits.sequences),
                                  .needed = "at least 1",
                                  .fix = "change the value"});
}

ModelFlags parse_model_flags(const std::string& verb, const Arguments& args,
                             const std::vector<OwnFlag>& own) {
  FlagRules rules{.aliases = {{"--model", ""},
                              {"--dtype", ""},
                              {"--device", ""},
                              {"--threads", ""},
                              {"--tensor", "parallel.tensor"},
                              {"--pipeline", "parallel.pipeline"},
                              {"--tensor-model-parallel-size", "parallel.tensor"},
                              {"--pipeline-model-parallel-size", "parallel.pipeline"},
                              {"--help", "", FlagKind::kSwitch}},
                  .megatron = false};
  for (const OwnFlag& flag : own) rules.aliases.push_back({flag.name, "", flag.kind});
  ModelFlags result;
  result.verb = verb;
  ConfigTree tree;
  tree.add_section("parallel", result.load);
  result.parsed = parse_flags(args, tree, rules);
  result.help = result.parsed.has("--help");
  if (result.help) return result;
  if (!result.parsed.positionals.empty()) {
    throw Error(ErrorKind::kUsage, {.where = "phalanx " + verb,
                                    .got = "'" + result.parsed.positionals[0] + "'",
                                    .needed = "flags only",
                                    .fix = "phalanx " + verb + " --help shows an example"});
  }
  result.model = result.required("--model");
  apply_flags(tree, result.parsed, /*has_config_file=*/true);
  if (result.parsed.has("--dtype")) result.load.dtype = parse_dtype(result.parsed.option("--dtype"));
  if (result.parsed.has("--device")) result.load.device = parse_device(result.parsed.option("--device"));
  const auto cores = static_cast<int64_t>(std::max(1u, std::thread::hardware_concurrency()));
  const int64_t threads = std::clamp<int64_t>(result.integer("--threads", cores), 1, 1024);
  if (result.parsed.has("--threads")) result.load.threads = threads;
  at::set_num_threads(static_cast<int>(threads));
  return result;
}

}  // namespace phalanx::apps
