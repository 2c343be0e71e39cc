#include "phalanx/shard/safetensors.h"

#include <algorithm>
#include <array>
#include <unordered_set>

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/base/json.h"

namespace phalanx {
namespace {

std::vector<SafetensorsEntry> place_entries(std::vector<SafetensorsDeclaration> tensors) {
  std::vector<SafetensorsEntry> entries;
  std::unordered_set<std::string> names;
  uint64_t position = 0;
  for (SafetensorsDeclaration& tensor : tensors) {
    const std::optional<uint64_t> bytes = dense_bytes(tensor.dtype, tensor.shape);
    PHALANX_CHECK(bytes.has_value(), "impossible shape of " + tensor.name + ": " + to_string(tensor.shape));
    PHALANX_CHECK(names.insert(tensor.name).second && tensor.name != "__metadata__",
                  "tensor name " + tensor.name);
    entries.push_back(
        {std::move(tensor.name), tensor.dtype, std::move(tensor.shape), position, position + *bytes});
    position += *bytes;
  }
  return entries;
}

// By hand, entry after entry: an ordered document with thousands of keys would be searched linearly for each.
std::string header_text(const std::vector<SafetensorsEntry>& entries, const SafetensorsMetadata& metadata) {
  std::string text = "{";
  const auto separate = [&text] {
    if (text.back() != '{') text += ',';
  };
  if (!metadata.empty()) {
    text += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) {
      separate();
      text += Json(key).dump() + ":" + Json(value).dump();
    }
    text += '}';
  }
  for (const SafetensorsEntry& entry : entries) {
    separate();
    text +=
        fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":{},\"data_offsets\":[{},{}]}}", Json(entry.name).dump(),
                    dtype_name(entry.dtype), Json(entry.shape).dump(), entry.begin, entry.end);
  }
  text += '}';
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::string& path)
    : path_(path), map_(path), header_(parse_safetensors_header(map_.bytes(), path)) {
  for (size_t i = 0; i < header_.entries.size(); ++i) index_.emplace(header_.entries[i].name, i);
}

const SafetensorsEntry* SafetensorsFile::find(std::string_view name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &header_.entries[it->second];
}

const SafetensorsEntry& SafetensorsFile::at(std::string_view name) const {
  if (const SafetensorsEntry* entry = find(name)) return *entry;
  std::vector<std::string> names;
  for (const SafetensorsEntry& entry : header_.entries) names.push_back(entry.name);
  const std::string nearest = nearest_name(std::string(name), names);
  throw Error(ErrorKind::kBadInput, {.where = path_,
                                     .got = fmt::format("no tensor '{}' among its {}", name, names.size()),
                                     .needed = "that tensor",
                                     .fix = nearest.empty() ? "check that the file belongs to this model"
                                                            : "did you mean '" + nearest + "'?"});
}

std::span<const std::byte> SafetensorsFile::bytes(const SafetensorsEntry& entry) const {
  return map_.bytes().subspan(header_.data_begin + entry.begin, entry.end - entry.begin);
}

SafetensorsWriter::SafetensorsWriter(std::string path, std::vector<SafetensorsDeclaration> tensors,
                                     SafetensorsMetadata metadata)
    : entries_(place_entries(std::move(tensors))), file_(std::move(path)) {
  const std::string text = header_text(entries_, metadata);
  PHALANX_CHECK(text.size() <= kMaxSafetensorsHeader, "a safetensors header above 100 MB");
  std::array<std::byte, 8> length{};
  for (size_t i = 0; i < 8; ++i) length[i] = static_cast<std::byte>(text.size() >> (8 * i));
  put(length);
  put(std::as_bytes(std::span(text)));
  skip_finished();
}

void SafetensorsWriter::put(std::span<const std::byte> bytes) {
  checksum_.update(bytes);
  file_.write(bytes.data(), bytes.size());
}

void SafetensorsWriter::skip_finished() {
  while (current_ < entries_.size() && position_ == entries_[current_].end) ++current_;
}

void SafetensorsWriter::write(std::string_view name, std::span<const std::byte> bytes) {
  if (bytes.empty()) return;  // also how a tensor without elements is "written"
  PHALANX_CHECK(current_ < entries_.size(), fmt::format("write of '{}' after the last tensor", name));
  const SafetensorsEntry& entry = entries_[current_];
  PHALANX_CHECK(entry.name == name, fmt::format("write of '{}' where '{}' comes next", name, entry.name));
  PHALANX_CHECK(bytes.size() <= entry.end - position_, fmt::format("more bytes than '{}' has", name));
  put(bytes);
  position_ += bytes.size();
  skip_finished();
}

WrittenFile SafetensorsWriter::commit() {
  PHALANX_CHECK(current_ == entries_.size(),
                fmt::format("commit before '{}' is complete", entries_[current_].name));
  file_.commit();
  return {file_.size(), checksum_.digest()};
}

}  // namespace phalanx
