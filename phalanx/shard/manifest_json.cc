// The manifest as JSON text, both ways.
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/shard/checksum.h"
#include "phalanx/shard/manifest.h"

namespace phalanx {
namespace {

constexpr const char* kFormat = "phalanx-checkpoint";

const Json& member(const Json& object, const char* key, const std::string& where) {
  if (!object.is_object()) {
    throw Error(ErrorKind::kBadInput, {.where = where,
                                       .got = object.dump().substr(0, 200),
                                       .needed = "a JSON object",
                                       .fix = "the checkpoint is damaged; use an earlier one"});
  }
  const auto it = object.find(key);
  if (it == object.end()) throw_json_field(where, key, "no such field", "the field");
  return *it;
}

// Strict: the library would turn 2.5, true or a negative number into an unsigned one without a word.
uint64_t get_unsigned(const Json& value, const char* key, const std::string& where) {
  if (!value.is_number_unsigned()) {
    throw_json_field(where, key, value.dump(), "a whole number that is not negative");
  }
  return value.get<uint64_t>();
}

std::string get_string(const Json& object, const char* key, const std::string& where) {
  const Json& value = member(object, key, where);
  if (!value.is_string()) throw_json_field(where, key, value.dump(), "a string");
  return value.get<std::string>();
}

const Json& get_array(const Json& object, const char* key, const std::string& where) {
  const Json& value = member(object, key, where);
  if (!value.is_array()) throw_json_field(where, key, value.dump(), "an array");
  return value;
}

Shape get_shape(const Json& object, const char* key, const std::string& where) {
  Shape shape;
  for (const Json& value : get_array(object, key, where)) {
    const uint64_t size = get_unsigned(value, key, where);
    if (size > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      throw_json_field(where, key, value.dump(), "a number below 2^63");
    }
    shape.push_back(static_cast<int64_t>(size));
  }
  return shape;
}

void check_format(const Json& root, const std::string& where) {
  if (!root.is_object() || !root.contains("format") || root["format"] != kFormat) {
    throw Error(ErrorKind::kBadInput, {.where = where,
                                       .got = "JSON of another kind",
                                       .needed = fmt::format("a manifest with \"format\": \"{}\"", kFormat),
                                       .fix = "name a checkpoint folder"});
  }
  const uint64_t version = get_unsigned(member(root, "version", where), "version", where);
  if (version > static_cast<uint64_t>(kManifestVersion)) {
    throw Error(ErrorKind::kBadInput, {.where = where,
                                       .got = fmt::format("format version {}", version),
                                       .needed = fmt::format("version {} or older", kManifestVersion),
                                       .fix = "a newer phalanx wrote it; use that one or a newer one"});
  }
  if (version == 0)
    throw_json_field(where, "version", "0", fmt::format("a version from 1 to {}", kManifestVersion));
}

StoredTensor parse_tensor(const Json& object, const std::string& where) {
  StoredTensor tensor;
  tensor.name = get_string(object, "name", where);
  const std::string place = fmt::format("{}: tensor '{}'", where, tensor.name);
  tensor.dtype = parse_file_dtype(get_string(object, "dtype", place), place);
  tensor.shape = get_shape(object, "shape", place);
  for (const Json& box : get_array(object, "boxes", place)) {
    tensor.boxes.push_back({.box = {get_shape(box, "begin", place), get_shape(box, "end", place)},
                            .file = get_string(box, "file", place),
                            .key = get_string(box, "key", place)});
  }
  return tensor;
}

StoredFile parse_file(const Json& object, const std::string& where) {
  StoredFile file;
  file.name = get_string(object, "name", where);
  file.size = get_unsigned(member(object, "size", where), "size", where);
  const std::string text = get_string(object, "xxh3", where);
  const std::optional<uint64_t> checksum = checksum_from_text(text);
  if (!checksum) throw_json_field(where, "xxh3", "'" + text + "'", "16 lower-case hexadecimal digits");
  file.checksum = *checksum;
  return file;
}

}  // namespace

Manifest parse_manifest(std::string_view text, const std::string& where) {
  Json root = parse_json(text, where);
  check_format(root, where);
  Manifest manifest;
  manifest.metadata = member(root, "metadata", where);
  for (const Json& file : get_array(root, "files", where)) manifest.files.push_back(parse_file(file, where));
  for (const Json& tensor : get_array(root, "tensors", where))
    manifest.tensors.push_back(parse_tensor(tensor, where));
  validate_manifest(manifest, where);
  return manifest;
}

std::string manifest_to_text(const Manifest& manifest) {
  Json files = Json::array();
  for (const StoredFile& file : manifest.files) {
    files.push_back({{"name", file.name}, {"size", file.size}, {"xxh3", checksum_to_text(file.checksum)}});
  }
  Json tensors = Json::array();
  for (const StoredTensor& tensor : manifest.tensors) {
    Json boxes = Json::array();
    for (const StoredBox& stored : tensor.boxes) {
      boxes.push_back(
          {{"begin", stored.box.begin}, {"end", stored.box.end}, {"file", stored.file}, {"key", stored.key}});
    }
    tensors.push_back({{"name", tensor.name},
                       {"dtype", dtype_name(tensor.dtype)},
                       {"shape", tensor.shape},
                       {"boxes", std::move(boxes)}});
  }
  const Json root = {{"format", kFormat},
                     {"version", kManifestVersion},
                     {"metadata", manifest.metadata},
                     {"files", std::move(files)},
                     {"tensors", std::move(tensors)}};
  return root.dump(1) + "\n";
}

Manifest read_manifest(const std::string& folder) {
  const std::string path = folder + "/" + kManifestFileName;
  return parse_manifest(read_file(path), path);
}

void write_manifest(const std::string& folder, const Manifest& manifest) {
  const std::string path = folder + "/" + kManifestFileName;
  validate_manifest(manifest, path);
  write_file_atomic(path, manifest_to_text(manifest));
}

}  // namespace phalanx
