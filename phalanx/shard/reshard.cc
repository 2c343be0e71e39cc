#include "phalanx/shard/reshard.h"

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/shard/box_set.h"

namespace phalanx {
namespace {

[[noreturn]] void throw_absent(const ManifestIndex& index, const std::string& name,
                               const std::string& where) {
  std::vector<std::string> names;
  for (const StoredTensor& tensor : index.manifest().tensors) names.push_back(tensor.name);
  const std::string nearest = nearest_name(name, names);
  throw Error(ErrorKind::kBadInput,
              {.where = where,
               .got = fmt::format("no tensor '{}' among its {}", name, names.size()),
               .needed = "every tensor of the model",
               .fix = nearest.empty() ? "check that the checkpoint belongs to this model"
                                      : "the checkpoint is of another model; it has '" + nearest + "'"});
}

}  // namespace

std::vector<CopyStep> plan_copies(const ManifestIndex& index, const WantedBox& wanted,
                                  const std::string& where) {
  PHALANX_CHECK(
      wanted.box.begin.size() == wanted.shape.size() && contains(Box::whole(wanted.shape), wanted.box),
      fmt::format("wanted box {} of {} {}", to_string(wanted.box), wanted.name, to_string(wanted.shape)));
  const StoredTensor* stored = index.find(wanted.name);
  if (stored == nullptr) throw_absent(index, wanted.name, where);
  const std::string place = fmt::format("{}: tensor '{}'", where, wanted.name);
  if (stored->shape != wanted.shape) {
    throw Error(ErrorKind::kBadInput, {.where = place,
                                       .got = "the shape " + to_string(stored->shape),
                                       .needed = to_string(wanted.shape),
                                       .fix = "use the model settings that the checkpoint was saved with"});
  }
  std::vector<CopyStep> copies;
  std::vector<Box> found;
  int64_t num_found = 0;
  for (const StoredBox& piece : stored->boxes) {
    const std::optional<Box> common = intersect(piece.box, wanted.box);
    if (!common) continue;
    found.push_back(*common);
    num_found += common->num_elements();
    copies.push_back({.file = piece.file,
                      .key = piece.key,
                      .dtype = stored->dtype,
                      .stored_shape = piece.box.shape(),
                      .source = relative_to(*common, piece.box.begin),
                      .destination = relative_to(*common, wanted.box.begin)});
  }
  if (num_found != wanted.box.num_elements()) {
    const std::vector<Box> gaps = uncovered(wanted.box, found);
    const std::string got = gaps.empty() ? "boxes that overlap" : "no box for " + to_string(gaps.front());
    throw Error(ErrorKind::kBadInput, {.where = place,
                                       .got = got,
                                       .needed = "every element of " + to_string(wanted.box) + " in one box",
                                       .fix = "the checkpoint is damaged; use an earlier one"});
  }
  return copies;
}

}  // namespace phalanx
