#include "phalanx/shard/manifest.h"

#include <map>
#include <set>
#include <unordered_set>
#include <utility>

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/shard/box_set.h"
#include "phalanx/shard/checksum.h"
#include "phalanx/shard/safetensors.h"

namespace phalanx {
namespace {

constexpr const char* kDamaged = "the checkpoint is damaged; use an earlier one";
constexpr size_t kMaxBoxesForGapSearch = 4096;  // naming the gap costs their square

[[noreturn]] void fail(const std::string& where, const std::string& got, const std::string& needed) {
  throw Error(ErrorKind::kBadInput, {.where = where, .got = got, .needed = needed, .fix = kDamaged});
}

// Names come from the file: a folder elsewhere must not be reachable through one.
bool is_plain_file_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos &&
         name.find('\0') == std::string::npos;
}

void check_box(const StoredTensor& tensor, const Box& box, const std::string& place) {
  const size_t rank = tensor.shape.size();
  if (box.begin.size() != rank || box.end.size() != rank) {
    fail(place, fmt::format("a box with {} begins and {} ends", box.begin.size(), box.end.size()),
         fmt::format("{} of each", rank));
  }
  for (size_t d = 0; d < rank; ++d) {
    if (box.begin[d] < 0 || box.begin[d] > box.end[d] || box.end[d] > tensor.shape[d]) {
      fail(place, "the box " + to_string(box), "a box inside the shape " + to_string(tensor.shape));
    }
  }
}

void check_cover(const StoredTensor& tensor, const std::string& place) {
  std::vector<Box> boxes;
  for (const StoredBox& stored : tensor.boxes) boxes.push_back(stored.box);
  if (const auto pair = first_overlap(boxes)) {
    fail(place,
         fmt::format("the boxes {} and {}, which overlap", to_string(boxes[pair->first]),
                     to_string(boxes[pair->second])),
         "every element in one box");
  }
  int64_t covered = 0;
  for (const Box& box : boxes) covered += box.num_elements();
  const int64_t all = num_elements(tensor.shape);
  if (covered == all) return;
  const std::string gap = boxes.size() > kMaxBoxesForGapSearch
                              ? fmt::format("boxes for {} of {} elements", covered, all)
                              : "no box for " + to_string(uncovered(Box::whole(tensor.shape), boxes).front());
  fail(place, gap, "every element in one box");
}

void check_stored_tensor(const SafetensorsFile& file, const StoredTensor& tensor, const StoredBox& stored) {
  const SafetensorsEntry& entry = file.at(stored.key);
  if (entry.dtype != tensor.dtype || entry.shape != stored.box.shape()) {
    fail(fmt::format("{}: tensor '{}'", file.path(), stored.key),
         fmt::format("{} of shape {}", dtype_name(entry.dtype), to_string(entry.shape)),
         fmt::format("{} of shape {}, as the manifest says", dtype_name(tensor.dtype),
                     to_string(stored.box.shape())));
  }
}

}  // namespace

void validate_manifest(const Manifest& manifest, const std::string& where) {
  std::unordered_set<std::string_view> files;
  for (const StoredFile& file : manifest.files) {
    if (!is_plain_file_name(file.name))
      fail(where, "the file name '" + file.name + "'", "a name without folders");
    if (!files.insert(file.name).second) fail(where, "the file '" + file.name + "' twice", "each file once");
  }
  std::unordered_set<std::string_view> names;
  std::set<std::pair<std::string_view, std::string_view>> keys;
  for (const StoredTensor& tensor : manifest.tensors) {
    const std::string place = fmt::format("{}: tensor '{}'", where, tensor.name);
    if (!names.insert(tensor.name).second) fail(place, "the name twice", "unique names");
    if (!dense_bytes(tensor.dtype, tensor.shape)) {
      fail(place, "the shape " + to_string(tensor.shape), "sizes that are not negative and fit 63 bits");
    }
    for (const StoredBox& stored : tensor.boxes) {
      check_box(tensor, stored.box, place);
      if (files.count(stored.file) == 0) {
        fail(place, fmt::format("the box {} in the file '{}'", to_string(stored.box), stored.file),
             "a file that the manifest lists");
      }
      if (!keys.emplace(stored.file, stored.key).second) {
        fail(place,
             fmt::format("the key '{}' of the file '{}', which another box uses", stored.key, stored.file),
             "a key for each box");
      }
    }
    check_cover(tensor, place);
  }
}

void verify_checkpoint_files(const Manifest& manifest, const std::string& folder) {
  std::map<std::string_view, std::vector<std::pair<const StoredTensor*, const StoredBox*>>> boxes;
  for (const StoredTensor& tensor : manifest.tensors) {
    for (const StoredBox& stored : tensor.boxes) boxes[stored.file].emplace_back(&tensor, &stored);
  }
  for (const StoredFile& listed : manifest.files) {
    const std::string path = folder + "/" + listed.name;
    const MappedFile map(path);
    if (map.bytes().size() != listed.size) {
      fail(path, fmt::format("{} bytes", map.bytes().size()),
           fmt::format("{} bytes, as the manifest says", listed.size));
    }
    const uint64_t checksum = checksum_of(map.bytes());
    if (checksum != listed.checksum) {
      fail(path, "the checksum " + checksum_to_text(checksum),
           checksum_to_text(listed.checksum) + ", as the manifest says");
    }
    if (boxes.count(listed.name) == 0) continue;  // a file of another kind may be listed too
    const SafetensorsFile file(path);
    for (const auto& [tensor, stored] : boxes[listed.name]) check_stored_tensor(file, *tensor, *stored);
  }
}

ManifestIndex::ManifestIndex(const Manifest& manifest) : manifest_(&manifest) {
  for (const StoredTensor& tensor : manifest.tensors) tensors_.emplace(tensor.name, &tensor);
}

const StoredTensor* ManifestIndex::find(std::string_view name) const {
  const auto it = tensors_.find(name);
  return it == tensors_.end() ? nullptr : it->second;
}

}  // namespace phalanx
