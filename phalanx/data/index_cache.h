// File: phalanx/data/index_cache.h
//
// Purpose: keeps built indices in files, so that one rank builds them, the others and later runs map them.
// Contract: a file is named after a hash of its key and holds the whole key, a text of everything that its numbers
//   depend on; only a file of the same key, whole, of this version and with the right checksum is used. Any other is
//   not: the log says why, and the index is built again. Files appear complete or not at all. A folder that cannot be
//   written or is not shared costs time and memory only: the log says so once, and the index stays in memory.
//   Thread-safe; several processes may use one folder.
// Layout, little-endian: magic "PHLXIDX1" | u64 version | u64 XXH3 of what follows but for the gaps | u64 bytes of the file
//   | u64 bytes of the key | u64 arrays | u64 bytes of each array | key | arrays, each from a multiple of 64 on.
// Units: bytes.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "phalanx/base/error.h"
#include "phalanx/data/index_array.h"

namespace phalanx {

struct IndexCacheOptions {
  std::string folder;  // empty: nothing is kept
  bool writes = true;  // false: a rank that maps what another one wrote
};

class IndexCache {
 public:
  using Parts = std::vector<IndexArray<std::byte>>;

  IndexCache() = default;
  explicit IndexCache(const IndexCacheOptions& options) : options_(options) {}

  bool active() const { return !options_.folder.empty(); }
  std::string path_of(const std::string& kind, const std::string& key) const;

  // The arrays kept under `key`, mapped; nothing when there are none that may be used.
  std::optional<Parts> find(const std::string& kind, const std::string& key) const;
  // Writes them; gives them back mapped, so that ranks of one machine share the memory, or nothing.
  std::optional<Parts> keep(const std::string& kind, const std::string& key,
                            const std::vector<std::span<const std::byte>>& parts) const;

 private:
  void say_once(const std::string& message) const;

  IndexCacheOptions options_;
  mutable std::mutex writing_;  // equal keys would share a temporary file
  mutable std::atomic<bool> said_{false};
};

template <typename T>
IndexArray<T> index_part_as(const IndexArray<std::byte>& part) {
  PHALANX_CHECK(part.size() % sizeof(T) == 0, "an array of whole elements");
  return {part.owner(), {reinterpret_cast<const T*>(part.begin()), part.size() / sizeof(T)}};
}

}  // namespace phalanx
