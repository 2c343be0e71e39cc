#include "phalanx/arch/violations.h"

namespace phalanx {
namespace {

constexpr size_t kShown = 20;  // of a hostile file's thousand mistakes

}  // namespace

void Violations::add(const std::string& field, std::string got, std::string needed, std::string fix) {
  parts_.push_back({.where = where_ + joiner_ + field,
                    .got = std::move(got),
                    .needed = std::move(needed),
                    .fix = std::move(fix)});
}

void Violations::throw_if_any() const {
  if (parts_.empty()) return;
  if (parts_.size() == 1) throw Error(ErrorKind::kBadInput, parts_.front());
  std::string list = std::to_string(parts_.size()) + " problems:";
  for (size_t i = 0; i < parts_.size() && i < kShown; ++i) {
    list += "\n  ";
    list += Error(ErrorKind::kBadInput, parts_[i]).what();
  }
  if (parts_.size() > kShown) list += "\n  and " + std::to_string(parts_.size() - kShown) + " more";
  throw Error(ErrorKind::kBadInput, {.where = where_, .got = std::move(list), .needed = "", .fix = ""});
}

}  // namespace phalanx
