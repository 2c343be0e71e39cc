// File: phalanx/shard/reshard.h
//
// Purpose: load any layout from any other: intersect what is wanted with what is stored and list the copies.
// Contract: the copies of one wanted box tile it exactly; those of one tensor come in the manifest's order.
// An absent
//   tensor, another global shape, or a part that no file holds is Error(kBadInput) at `where`. Pure: opens no
//   file.
// Example: for (const CopyStep& c : plan_copies(index, {name, shape, box}, "run/checkpoints/step_10")) ...
// Units: elements.
#pragma once

#include <string>
#include <vector>

#include "phalanx/shard/manifest.h"

namespace phalanx {

struct WantedBox {
  std::string name;
  Shape shape;  // global
  Box box;      // global coordinates
};

struct CopyStep {
  std::string file;
  std::string key;
  FileDtype dtype = FileDtype::kF32;  // as stored
  Shape stored_shape;                 // of that key
  Box source;                         // inside the stored tensor
  Box destination;                    // inside the wanted box
};

std::vector<CopyStep> plan_copies(const ManifestIndex& index, const WantedBox& wanted,
                                  const std::string& where);

}  // namespace phalanx
