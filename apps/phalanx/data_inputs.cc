#include <algorithm>
#include <set>

#include "apps/phalanx/data_verbs.h"
#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"

namespace phalanx::apps {
namespace {

[[noreturn]] void throw_usage(const std::string& where, const std::string& got, const std::string& needed,
                              const std::string& fix) {
  throw Error(ErrorKind::kUsage, {.where = where, .got = got, .needed = needed, .fix = fix});
}

}  // namespace

std::vector<std::string> text_inputs(const ParsedFlags& flags, const std::string& verb) {
  std::vector<std::string> inputs;
  if (flags.has("--files-from")) {
    const std::string list = read_file(flags.option("--files-from"));
    for (size_t begin = 0; begin < list.size();) {
      const size_t end = std::min(list.find('\n', begin), list.size());
      const size_t size = end - begin - (end > begin && list[end - 1] == '\r' ? 1 : 0);
      if (size > 0) inputs.push_back(list.substr(begin, size));
      begin = end + 1;
    }
  }
  if (flags.has("--input")) {
    const auto& words = flags.options.at("--input");
    inputs.insert(inputs.end(), words.begin(), words.end());
  }
  if (inputs.empty()) {
    throw_usage("phalanx " + verb, "no input", "--input FILE_OR_FOLDER... or --files-from LIST",
                "phalanx " + verb + " --help shows an example");
  }
  return inputs;
}

std::vector<std::string> json_keys(const ParsedFlags& flags) {
  if (!flags.has("--json-keys")) return {"text"};
  const std::vector<std::string>& keys = flags.options.at("--json-keys");
  std::set<std::string> seen;
  for (const std::string& key : keys) {
    if (key.empty() || key.find('/') != std::string::npos)
      throw_usage("--json-keys", "'" + key + "'", "a key that can be part of a file's name",
                  "rename the key");
    if (!seen.insert(key).second)
      throw_usage("--json-keys", "'" + key + "' twice", "each key once", "keep one of them");
  }
  return keys;
}

TextFormat text_format(const std::string& name) {
  if (name == "auto") return TextFormat::kAuto;
  if (name == "jsonl") return TextFormat::kJsonLines;
  if (name == "text") return TextFormat::kDocument;
  throw_usage("--input-format", "'" + name + "'", "auto, jsonl or text", "use one of these");
}

}  // namespace phalanx::apps
