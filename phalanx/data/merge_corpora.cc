#include "phalanx/data/merge_corpora.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/data/corpus_sidecar.h"
#include "phalanx/data/indexed_dataset.h"
#include "phalanx/data/indexed_writer.h"
#include "phalanx/data/text_source.h"
#include "phalanx/data/tokenize_parts.h"

namespace phalanx {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> pairs_in(const std::string& folder) {
  std::map<std::string, int> found;  // prefix -> 1 for .bin, 2 for .idx
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string path = entry.path().string();
    if (path.ends_with(".bin")) found[path.substr(0, path.size() - 4)] |= 1;
    if (path.ends_with(".idx")) found[path.substr(0, path.size() - 4)] |= 2;
  }
  std::vector<std::string> prefixes;
  for (const auto& [prefix, have] : found) {
    if (have != 3) {
      bad_input(prefix + (have == 1 ? ".bin" : ".idx"), "one file of a pair",
                have == 1 ? "its .idx" : "its .bin", "remove it, or make the pair again");
    }
    prefixes.push_back(prefix);
  }
  if (prefixes.empty())
    bad_input(folder, "a folder without a .bin/.idx pair", "at least one", "check the path");
  return prefixes;
}

// What the sidecars of all inputs agree on; nothing where one has none.
std::optional<CorpusSidecar> common_sidecar(const std::vector<std::string>& prefixes) {
  std::optional<CorpusSidecar> common;
  for (const std::string& prefix : prefixes) {
    const std::optional<CorpusSidecar> own = read_sidecar(dataset_prefix(prefix));
    if (!own) return std::nullopt;
    if (!common) {
      common = own;
      continue;
    }
    if (own->tokenizer_checksum != common->tokenizer_checksum) {
      bad_input(prefix, "tokens of another tokenizer than those of " + prefixes.front(),
                "one tokenizer for all",
                "tokenize again with the same one, or remove the .json files if they are wrong");
    }
    common->empty_documents += own->empty_documents;
    common->text_bytes += own->text_bytes;
    common->append_eod = common->append_eod && own->append_eod;
    if (own->tokenizer_model != common->tokenizer_model) common->tokenizer_model.clear();
  }
  return common;
}

}  // namespace

std::vector<std::string> list_pairs(const std::vector<std::string>& inputs) {
  std::vector<std::string> prefixes;
  for (const std::string& input : inputs) {
    std::error_code ignored;
    if (!fs::is_directory(input, ignored)) {
      prefixes.push_back(dataset_prefix(input));
      continue;
    }
    const std::vector<std::string> inside = pairs_in(input);
    prefixes.insert(prefixes.end(), inside.begin(), inside.end());
  }
  return prefixes;
}

MergedCorpus merge_corpora(const std::vector<std::string>& inputs, const std::string& output_prefix) {
  const std::vector<std::string> prefixes = list_pairs(inputs);
  const std::string output = dataset_prefix(output_prefix);
  for (const std::string& prefix : prefixes) {
    if (normal_path(prefix + ".bin") == normal_path(output + ".bin"))
      bad_input(prefix, "an input that is also the output", "two different pairs", "change --output-prefix");
  }
  const std::optional<CorpusSidecar> common = common_sidecar(prefixes);
  const TokenDtype dtype = IndexedDataset(prefixes.front()).dtype();
  make_directories(fs::absolute(output).parent_path().string());
  remove_temporaries(output + ".", false);
  IndexedDatasetWriter writer(output, dtype);
  for (const std::string& prefix : prefixes) writer.append(IndexedDataset(prefix));
  remove_sidecar(output);
  const PairChecksums sums = writer.commit();
  if (common) {
    CorpusSidecar sidecar = *common;
    sidecar.dtype = dtype;
    sidecar.sequences = writer.num_sequences();
    sidecar.documents = writer.num_documents();
    sidecar.tokens = writer.num_tokens();
    sidecar.checksums = sums;
    write_sidecar(output, sidecar);
  }
  return {.prefix = output,
          .dtype = dtype,
          .inputs = static_cast<int64_t>(prefixes.size()),
          .sequences = writer.num_sequences(),
          .documents = writer.num_documents(),
          .tokens = writer.num_tokens()};
}

}  // namespace phalanx
