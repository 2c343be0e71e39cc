#include <cstdio>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "apps/phalanx/verbs.h"
#include "phalanx/base/clock.h"
#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/base/log.h"
#include "phalanx/checkpoint/hf_export.h"
#include "phalanx/checkpoint/hf_import.h"
#include "phalanx/checkpoint/inspect.h"
#include "phalanx/checkpoint/model_state.h"
#include "phalanx/checkpoint/tokenizer_files.h"
#include "phalanx/config/flags.h"
#include "phalanx/telemetry/human.h"
#include "phalanx/telemetry/progress.h"
#include "phalanx/train/train_checkpoint.h"

namespace phalanx::apps {
namespace {

constexpr const char* kHelp =
    "usage: phalanx checkpoint import-hf|export-hf|inspect|verify ...    (each says more with --help)\n\n"
    "  import-hf HF_DIR OUT_DIR        a Hugging Face folder into a checkpoint\n"
    "  export-hf CHECKPOINT OUT_DIR    a checkpoint or run into a Hugging Face folder\n"
    "  inspect PATH                    tensors, shapes, files, step and model\n"
    "  verify PATH                     checksums, coverage, values that are not finite\n\n"
    "example: phalanx checkpoint inspect runs/demo\n";

constexpr const char* kImportHelp =
    "usage: phalanx checkpoint import-hf HF_DIR OUT_DIR [--dtype DTYPE] [--force] [--json]\n"
    "Makes a checkpoint of a GPT-2, Llama, Mistral or Qwen2 folder (safetensors, one file or shards).\n"
    "Tokenizer files go into OUT_DIR/tokenizer, the model section into OUT_DIR/config.toml.\n"
    "example: phalanx checkpoint import-hf models/gpt2 runs/gpt2\n"
    "then:    phalanx train runs/gpt2/config.toml --checkpoint.load=runs/gpt2 \\\n"
    "           --checkpoint.finetune=true --run-dir runs/mine ...\n\n";

constexpr const char* kExportHelp =
    "usage: phalanx checkpoint export-hf CHECKPOINT OUT_DIR [--family NAME] [--dtype DTYPE] ...\n"
    "Makes a folder that AutoModelForCausalLM.from_pretrained loads. CHECKPOINT is a run folder, a\n"
    "folder of checkpoints or one step. Token ids, tokenizer files and generation settings are those\n"
    "of the Hugging Face folder that the weights once came from. A dtype wider than the stored\n"
    "weights takes the run's masters.\n"
    "example: phalanx checkpoint export-hf runs/demo exported --dtype bf16\n\n";

constexpr const char* kInspectHelp =
    "usage: phalanx checkpoint inspect PATH [--step N] [--json]\n"
    "PATH is a run folder, a checkpoint, a Hugging Face folder or a safetensors file. Reads headers\n"
    "only.\n"
    "example: phalanx checkpoint inspect runs/demo --json\n\n";

constexpr const char* kVerifyHelp =
    "usage: phalanx checkpoint verify PATH [--step N] [--json]\n"
    "Reads every byte: sizes and checksums, that boxes cover every tensor exactly, and each value.\n"
    "Exit code 3: the file or tensor that is named is damaged. 6: there are NaN or infinite values,\n"
    "counted by tensor.\n"
    "example: phalanx checkpoint verify runs/demo\n\n";

const FlagAlias kHelpFlag = {"--help", "", FlagKind::kSwitch, "print this text"};
const FlagAlias kJsonFlag = {"--json", "", FlagKind::kSwitch, "print the result as JSON"};
const FlagAlias kForceFlag = {"--force", "", FlagKind::kSwitch,
                              "replace OUT_DIR where an earlier call made it"};
const FlagAlias kDtypeFlag = {"--dtype", "", FlagKind::kValue, "fp64, fp32, bf16 or fp16; else as stored",
                              "DTYPE"};
const FlagAlias kStepFlag = {"--step", "", FlagKind::kValue, "this step of a run instead of the newest", "N"};

struct Words {
  ParsedFlags flags;
  bool help = false;
  const std::string& at(size_t i) const { return flags.positionals[i]; }
};

Words parse_words(const std::string& verb, const Arguments& args, const std::vector<FlagAlias>& aliases,
                  const std::string& help, const std::vector<std::string>& names) {
  Words words{.flags = parse_flags({args.begin() + 1, args.end()}, ConfigTree(),
                                   {.aliases = aliases, .megatron = false})};
  if (words.flags.has("--help")) {
    print_line(help + alias_help(aliases));
    words.help = true;
    return words;
  }
  const std::vector<std::string>& given = words.flags.positionals;
  if (given.size() == names.size()) return words;
  throw Error(ErrorKind::kUsage,
              {.where = "phalanx checkpoint " + verb,
               .got = given.size() < names.size() ? "no " + names[given.size()]
                                                  : "'" + given[names.size()] + "' after the paths",
               .needed = fmt::format("{}", fmt::join(names, " ")),
               .fix = "phalanx checkpoint " + verb + " --help"});
}

int64_t parse_integer(const std::string& text, const std::string& flag) {
  if (!text.empty() && text.size() <= 18 && text.find_first_not_of("0123456789") == std::string::npos) {
    return std::stoll(text);
  }
  throw Error(ErrorKind::kUsage, {.where = flag,
                                  .got = "'" + text + "'",
                                  .needed = "a number from 0 on",
                                  .fix = "write " + flag + "=7"});
}

std::optional<int64_t> step_of(const ParsedFlags& flags) {
  if (!flags.has("--step")) return std::nullopt;
  return parse_integer(flags.option("--step"), "--step");
}

std::optional<at::ScalarType> dtype_of(const ParsedFlags& flags) {
  if (!flags.has("--dtype")) return std::nullopt;
  return parse_float_dtype(flags.option("--dtype"), "--dtype");
}

std::string counted(size_t n, const std::string& what) {
  return fmt::format("{} {}{}", n, what, n == 1 ? "" : "s");
}

// The text at the end of a path of keys, or "".
std::string text_at(const Json& json, std::initializer_list<const char*> keys) {
  const Json* node = &json;
  for (const char* key : keys) {
    if (!node->is_object() || !node->contains(key)) return "";
    node = &(*node)[key];
  }
  return node->is_string() ? node->get<std::string>() : "";
}

class Bar {
 public:
  Bar(const std::string& title, uint64_t total)
      : bar_(
            {.title = title,
             .total = static_cast<double>(total),
             .unit = ProgressUnit::kBytes,
             .terminal = stderr_terminal()},
            [](std::string_view text) { std::fwrite(text.data(), 1, text.size(), stderr); },
            monotonic_seconds) {}
  ByteProgress progress() {
    return [this](uint64_t done) { bar_.update(static_cast<double>(done)); };
  }
  void finish() { bar_.finish(); }

 private:
  ProgressBar bar_;
};

int import_verb(const Arguments& args) {
  const Words words = parse_words("import-hf", args, {kDtypeFlag, kForceFlag, kJsonFlag, kHelpFlag},
                                  kImportHelp, {"HF_DIR", "OUT_DIR"});
  if (words.help) return 0;
  const HfFolder folder(words.at(0));
  HfImportOptions options{.dtype = dtype_of(words.flags), .overwrite = words.flags.has("--force")};
  Bar bar("importing", static_cast<uint64_t>(folder.table().num_parameters()) *
                           c10::elementSize(options.dtype.value_or(folder.dtype())));
  options.progress = bar.progress();
  const HfImportReport report = import_hf(folder, words.at(1), options);
  bar.finish();
  if (words.flags.has("--json")) {
    print_line(Json({{"path", words.at(1)},
                     {"family", std::string(hf_model_type(folder.family()))},
                     {"dtype", dtype_word(report.dtype)},
                     {"parameters", report.num_parameters},
                     {"bytes", report.bytes},
                     {"tokenizer_files", report.num_tokenizer_files}})
                   .dump());
    return 0;
  }
  print_line(fmt::format(
      "{}: {} with {} parameters in {} ({}), {}", words.at(1), hf_model_type(folder.family()),
      human_count(static_cast<double>(report.num_parameters)), dtype_word(report.dtype),
      human_bytes(static_cast<double>(report.bytes)), counted(report.num_tokenizer_files, "tokenizer file")));
  return 0;
}

// Where the weights first came from: the checkpoint itself or what its run was started from, a few runs back.
std::string find_import(const CheckpointReader& reader) {
  std::string folder = reader.folder();
  Json metadata = reader.metadata();
  for (int hops = 0; hops < 8; ++hops) {
    if (metadata.contains("hf")) return folder;
    const std::string load = text_at(metadata, {"config", "checkpoint", "load"});
    if (load.empty()) return "";
    try {
      folder = resolve_checkpoint_folder(load, std::nullopt);
      metadata = read_manifest(folder).metadata;
    } catch (const Error& error) {
      log_warning(fmt::format(
          "what the run was started from cannot be read, so no tokenizer travels along: {}", error.what()));
      return "";
    }
  }
  return "";
}

std::optional<HfFamily> parse_family(const std::string& text) {
  if (text.empty()) return std::nullopt;
  std::string known;
  for (const HfFamily family : hf_families()) {
    if (text == hf_model_type(family)) return family;
    known += (known.empty() ? "" : ", ") + std::string(hf_model_type(family));
  }
  throw Error(ErrorKind::kUsage, {.where = "--family",
                                  .got = "'" + text + "'",
                                  .needed = "one of " + known,
                                  .fix = "leave it out to get the one that fits"});
}

void fill_from_origin(HfExportOptions& options, const CheckpointReader& reader, const ParsedFlags& flags) {
  const std::string origin = find_import(reader);
  if (!origin.empty()) {
    const std::string where = origin + "/" + kManifestFileName;
    const Json hf = json_get<Json>(read_manifest(origin).metadata, "hf", where);
    if (!options.family)
      options.family = hf_family_of({{"model_type", json_get<std::string>(hf, "family", where)}}, where);
    options.token_ids = json_get<Json>(hf, "token_ids", where);
    options.generation_config = json_get<Json>(hf, "generation_config", where);
    options.tokenizer_files = tokenizer_files(origin + "/" + kTokenizerFolder, "");
  }
  if (flags.has("--tokenizer")) {
    options.tokenizer_files = tokenizer_files(flags.option("--tokenizer"), "");
    if (options.tokenizer_files.empty()) {
      throw Error(ErrorKind::kBadInput, {.where = "--tokenizer " + flags.option("--tokenizer"),
                                         .got = "no tokenizer file in it",
                                         .needed = "a folder with tokenizer.json or the like",
                                         .fix = "check the path"});
    }
  }
  for (const char* token : {"bos", "eos"}) {
    const std::string flag = fmt::format("--{}-token-id", token);
    if (!flags.has(flag)) continue;
    const int64_t id = parse_integer(flags.option(flag), flag);
    options.token_ids[fmt::format("{}_token_id", token)] = id;
    if (options.generation_config.is_object())
      options.generation_config[fmt::format("{}_token_id", token)] = id;
  }
}

int export_verb(const Arguments& args) {
  const Words words =
      parse_words("export-hf", args,
                  {{"--family", "", FlagKind::kValue, "model_type to write; else the one that fits", "NAME"},
                   kDtypeFlag,
                   {"--max-shard-size", "", FlagKind::kValue,
                    "cut the weights into files of at most this size; 5GB", "SIZE"},
                   {"--tokenizer", "", FlagKind::kValue, "take the tokenizer files of this folder", "DIR"},
                   {"--eos-token-id", "", FlagKind::kValue, "the id that ends a text", "N"},
                   {"--bos-token-id", "", FlagKind::kValue, "the id that starts a text", "N"},
                   kStepFlag,
                   kForceFlag,
                   kJsonFlag,
                   kHelpFlag},
                  kExportHelp, {"CHECKPOINT", "OUT_DIR"});
  if (words.help) return 0;
  HfExportOptions options{
      .family = parse_family(words.flags.option("--family")),
      .max_shard_bytes = parse_byte_size(words.flags.option("--max-shard-size", "5GB"), "--max-shard-size"),
      .overwrite = words.flags.has("--force")};
  CheckpointReader reader(resolve_checkpoint_folder(words.at(0), step_of(words.flags)));
  const ModelConfig config = stored_model_config(reader);
  options.dtype = dtype_of(words.flags).value_or(stored_weight_dtype(reader));
  fill_from_origin(options, reader, words.flags);
  Bar bar("exporting", static_cast<uint64_t>(make_parameter_table(config).num_parameters()) *
                           c10::elementSize(options.dtype));
  options.progress = bar.progress();
  const HfExportReport report = export_hf(config, weights_of(reader, options.dtype), words.at(1), options);
  bar.finish();
  if (options.tokenizer_files.empty())
    log_info("no tokenizer files came with these weights; --tokenizer DIR adds some");
  if (words.flags.has("--json")) {
    print_line(Json({{"path", words.at(1)},
                     {"family", std::string(hf_model_type(report.family))},
                     {"dtype", dtype_word(options.dtype)},
                     {"parameters", report.num_parameters},
                     {"bytes", report.bytes},
                     {"weight_files", report.weight_files},
                     {"tokenizer_files", options.tokenizer_files.size()}})
                   .dump());
    return 0;
  }
  print_line(fmt::format(
      "{}: {} with {} parameters in {} ({}), {}, {}", words.at(1), hf_model_type(report.family),
      human_count(static_cast<double>(report.num_parameters)), dtype_word(options.dtype),
      human_bytes(static_cast<double>(report.bytes)), counted(report.weight_files.size(), "weight file"),
      counted(options.tokenizer_files.size(), "tokenizer file")));
  return 0;
}

// A file or Hugging Face folder as it is, else the checkpoint that a run or folder of checkpoints means.
std::string weights_path(const Words& words) {
  const std::string& path = words.at(0);
  if (!path_exists(path)) {
    throw Error(ErrorKind::kBadInput,
                {.where = path,
                 .got = "no such file or folder",
                 .needed = "a run, a checkpoint, a Hugging Face folder or a safetensors file",
                 .fix = "check the path"});
  }
  if (weights_kind(path) != WeightsKind::kCheckpoint) return path;
  return resolve_checkpoint_folder(path, step_of(words.flags));
}

int inspect_verb(const Arguments& args) {
  const Words words = parse_words("inspect", args, {kStepFlag, kJsonFlag, kHelpFlag}, kInspectHelp, {"PATH"});
  if (words.help) return 0;
  const Json description = describe_weights(weights_path(words));
  print_line(words.flags.has("--json") ? description.dump() : weights_text(description));
  return 0;
}

int verify_verb(const Arguments& args) {
  const Words words = parse_words("verify", args, {kStepFlag, kJsonFlag, kHelpFlag}, kVerifyHelp, {"PATH"});
  if (words.help) return 0;
  const std::string path = weights_path(words);
  Bar bar("verifying", weights_read_bytes(path));
  const VerifyReport report = verify_weights(path, bar.progress());
  bar.finish();
  const int code = report.non_finite.empty() ? 0 : static_cast<int>(ErrorKind::kNumeric);
  Json bad = Json::array();
  std::string lines;
  for (const VerifyReport::Tensor& tensor : report.non_finite) {
    bad.push_back({{"name", tensor.name}, {"nan", tensor.counted.nan}, {"inf", tensor.counted.inf}});
    lines += fmt::format("  {}: {} NaN, {} infinite\n", tensor.name, tensor.counted.nan, tensor.counted.inf);
  }
  if (words.flags.has("--json")) {
    print_line(Json({{"path", path},
                     {"ok", code == 0},
                     {"files", report.num_files},
                     {"tensors", report.num_tensors},
                     {"bytes", report.bytes},
                     {"non_finite", bad}})
                   .dump());
    return code;
  }
  print_line(fmt::format("{}: {}, {}, {}: whole{}\n{}", path, counted(report.num_files, "file"),
                         counted(report.num_tensors, "tensor"),
                         human_bytes(static_cast<double>(report.bytes)),
                         code == 0 ? ", all values finite" : ", but not all values are finite", lines));
  return code;
}

}  // namespace

int run_checkpoint(const Arguments& args) {
  const std::string verb =
      sub_verb("checkpoint", args, {"import-hf", "export-hf", "inspect", "verify", "reshard"});
  if (verb == "import-hf") return import_verb(args);
  if (verb == "export-hf") return export_verb(args);
  if (verb == "inspect") return inspect_verb(args);
  if (verb == "verify") return verify_verb(args);
  if (verb == "reshard") {
    throw Error(ErrorKind::kUsage, {.where = "phalanx checkpoint reshard",
                                    .got = "a word that comes with parallel layouts",
                                    .needed = "import-hf, export-hf, inspect or verify",
                                    .fix = "none is needed: this version reads any checkpoint as it lies"});
  }
  print_line(kHelp);
  return 0;
}

}  // namespace phalanx::apps
