// File: phalanx/plan/cluster_files.h
//
// Purpose: the files of clusters/ inside the library: CMake writes the body (phalanx_module's EMBED).
// Contract: ordered by name; `name` is the file's without folder and ending. The texts live as long as the process.
#pragma once

#include <span>
#include <string_view>

namespace phalanx {

struct EmbeddedFile {
  std::string_view name;
  std::string_view text;
};

std::span<const EmbeddedFile> plan_clusters();

}  // namespace phalanx
