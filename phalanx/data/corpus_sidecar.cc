#include "phalanx/data/corpus_sidecar.h"

#include <filesystem>

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/base/json.h"
#include "phalanx/shard/checksum.h"

namespace phalanx {
namespace {

constexpr int64_t kVersion = 1;

TokenDtype dtype_of(const std::string& name, const std::string& path) {
  for (uint8_t code = 1; const auto dtype = token_dtype_of_code(code); ++code) {
    if (token_dtype_name(*dtype) == name) return *dtype;
  }
  throw Error(ErrorKind::kBadInput, {.where = path,
                                     .got = fmt::format("dtype '{}'", name),
                                     .needed = "uint16, int32, ...",
                                     .fix = "the file is damaged; tokenize again or remove it"});
}

uint64_t checksum_of_field(const Json& json, const char* key, const std::string& path) {
  const auto text = json_get<std::string>(json, key, path);
  if (const auto value = checksum_from_text(text)) return *value;
  throw Error(ErrorKind::kBadInput, {.where = path,
                                     .got = fmt::format("{} '{}'", key, text),
                                     .needed = "16 hexadecimal digits",
                                     .fix = "the file is damaged; tokenize again or remove it"});
}

}  // namespace

std::string sidecar_path(const std::string& prefix) {
  return prefix + ".json";
}

void write_sidecar(const std::string& prefix, const CorpusSidecar& sidecar) {
  Json json = {{"version", kVersion},
               {"dtype", std::string(token_dtype_name(sidecar.dtype))},
               {"sequences", sidecar.sequences},
               {"documents", sidecar.documents},
               {"empty_documents", sidecar.empty_documents},
               {"tokens", sidecar.tokens},
               {"text_bytes", sidecar.text_bytes},
               {"tokenizer_type", sidecar.tokenizer_type},
               {"tokenizer_model", sidecar.tokenizer_model},
               {"tokenizer_checksum", sidecar.tokenizer_checksum},
               {"vocab_size", sidecar.vocab_size},
               {"append_eod", sidecar.append_eod},
               {"bin_xxh3", checksum_to_text(sidecar.checksums.bin)},
               {"idx_xxh3", checksum_to_text(sidecar.checksums.idx)}};
  write_file_atomic(sidecar_path(prefix), json.dump(2) + "\n");
}

std::optional<CorpusSidecar> read_sidecar(const std::string& prefix) {
  const std::string path = sidecar_path(prefix);
  if (!path_exists(path)) return std::nullopt;
  const Json json = read_json_file(path);
  const auto version = json_get<int64_t>(json, "version", path);
  if (version != kVersion) {
    throw Error(ErrorKind::kBadInput, {.where = path,
                                       .got = fmt::format("version {}", version),
                                       .needed = fmt::format("version {}", kVersion),
                                       .fix = "a newer program wrote it; use a newer phalanx"});
  }
  CorpusSidecar out;
  out.dtype = dtype_of(json_get<std::string>(json, "dtype", path), path);
  out.sequences = json_get<int64_t>(json, "sequences", path);
  out.documents = json_get<int64_t>(json, "documents", path);
  out.empty_documents = json_get<int64_t>(json, "empty_documents", path);
  out.tokens = json_get<int64_t>(json, "tokens", path);
  out.text_bytes = json_get<int64_t>(json, "text_bytes", path);
  out.tokenizer_type = json_get<std::string>(json, "tokenizer_type", path);
  out.tokenizer_model = json_get<std::string>(json, "tokenizer_model", path);
  out.tokenizer_checksum = json_get<std::string>(json, "tokenizer_checksum", path);
  out.vocab_size = json_get<int64_t>(json, "vocab_size", path);
  out.append_eod = json_get<bool>(json, "append_eod", path);
  out.checksums = {.bin = checksum_of_field(json, "bin_xxh3", path),
                   .idx = checksum_of_field(json, "idx_xxh3", path)};
  return out;
}

void remove_sidecar(const std::string& prefix) {
  std::error_code error;
  std::filesystem::remove(sidecar_path(prefix), error);
  if (!error) return;
  throw Error(ErrorKind::kIo, {.where = sidecar_path(prefix),
                               .got = "remove failed: " + error.message(),
                               .needed = "to replace it",
                               .fix = "check the permissions of its folder"});
}

}  // namespace phalanx
