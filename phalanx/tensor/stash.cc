#include "phalanx/tensor/stash.h"

#include <algorithm>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

#ifdef PHALANX_DEBUG
constexpr bool kHashStash = true;
#else
constexpr bool kHashStash = false;
#endif

// FNV-1a over the tensor's bytes; strided tensors are hashed through a copy. Debug only, so speed does not matter.
uint64_t hash_bytes(const Tensor& tensor) {
  const Tensor flat = tensor.contiguous().cpu();
  const auto* bytes = static_cast<const unsigned char*>(flat.data_ptr());
  uint64_t hash = 0xcbf29ce484222325ull;
  for (size_t i = 0; i < flat.nbytes(); ++i) hash = (hash ^ bytes[i]) * 0x100000001b3ull;
  return hash;
}

const void* storage_of(const Tensor& tensor) {
  return tensor.storage().unsafeGetStorageImpl();
}

}  // namespace

Stash Stash::null() {
  Stash stash;
  stash.null_ = true;
  return stash;
}

void Stash::push(Tensor tensor, const char* what) {
  if (null_) return;
  Entry entry;
  entry.tensors.push_back(std::move(tensor));
  entry.what = what;
  add(std::move(entry));
}

void Stash::push_rebuild(std::vector<Tensor> sources,
                         std::function<Tensor(const std::vector<Tensor>&)> rebuild, const char* what) {
  if (null_) return;
  Entry entry;
  entry.tensors = std::move(sources);
  entry.rebuild = std::move(rebuild);
  entry.what = what;
  add(std::move(entry));
}

void Stash::add(Entry entry) {
  for (const Tensor& tensor : entry.tensors) {
    hold(tensor, entry.what);
    if (kHashStash && tensor.defined()) entry.hashes.push_back(hash_bytes(tensor));
  }
  entries_.push_back(std::move(entry));
}

void Stash::hold(const Tensor& tensor, const char* what) {
  if (!tensor.defined()) return;
  Held& held = held_[storage_of(tensor)];
  if (held.uses++ == 0) {
    held.bytes = static_cast<int64_t>(tensor.storage().nbytes());
    held.what = what;
    bytes_ += held.bytes;
    peak_bytes_ = std::max(peak_bytes_, bytes_);
  }
}

void Stash::release(const Tensor& tensor) {
  if (!tensor.defined()) return;
  const auto it = held_.find(storage_of(tensor));
  if (--it->second.uses == 0) {
    bytes_ -= it->second.bytes;
    held_.erase(it);
  }
}

Tensor Stash::pop() {
  PHALANX_CHECK(!entries_.empty(), "pop from an empty stash: forward pushed less than backward pops");
  Entry entry = std::move(entries_.back());
  entries_.pop_back();
  size_t next_hash = 0;
  for (const Tensor& tensor : entry.tensors) {
    if (kHashStash && tensor.defined()) {
      PHALANX_CHECK(hash_bytes(tensor) == entry.hashes[next_hash++],
                    std::string("'") + entry.what + "' changed between push and pop");
    }
    release(tensor);
  }
  return entry.rebuild ? entry.rebuild(entry.tensors) : entry.tensors[0];
}

std::map<std::string, int64_t> Stash::bytes_by_label() const {
  std::map<std::string, int64_t> result;
  for (const auto& [storage, held] : held_) result[held.what] += held.bytes;
  return result;
}

}  // namespace phalanx
