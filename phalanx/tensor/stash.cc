#include "phalanx/tensor/stash.h"

#include <ATen/ATen.h>

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

// All bytes of the tensor's storage, as one row.
Tensor whole_storage(const Tensor& tensor) {
  Tensor row = at::empty({0}, tensor.options().dtype(at::kByte));
  return row.set_(tensor.storage(), 0, {static_cast<int64_t>(tensor.storage().nbytes())}, {1});
}

// Asynchronous on a GPU: its allocator hands the storage to later work of the same stream only.
Tensor copied_to_host(const Tensor& row) {
  Tensor host = at::empty(row.sizes(), at::TensorOptions(at::kByte).pinned_memory(row.is_cuda()));
  host.copy_(row, /*non_blocking=*/true);
  return host;
}

Tensor copied_back(const Tensor& host, at::Device device) {
  Tensor row = at::empty(host.sizes(), host.options().device(device).pinned_memory(false));
  row.copy_(host, /*non_blocking=*/true);
  return row;
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
  entry.what = what;
  std::vector<Tensor> tensors;
  tensors.push_back(std::move(tensor));
  add(std::move(tensors), std::move(entry));
}

void Stash::push_rebuild(std::vector<Tensor> sources,
                         std::function<Tensor(const std::vector<Tensor>&)> rebuild, const char* what) {
  if (null_) return;
  Entry entry;
  entry.rebuild = std::move(rebuild);
  entry.what = what;
  add(std::move(sources), std::move(entry));
}

void Stash::add(std::vector<Tensor> tensors, Entry entry) {
  for (Tensor& tensor : tensors) {
    if (kHashStash && tensor.defined()) entry.hashes.push_back(hash_bytes(tensor));
    entry.pieces.push_back(hold(std::move(tensor), entry.what));
  }
  entries_.push_back(std::move(entry));
}

void Stash::count(int64_t device, int64_t host) {
  bytes_ += device;
  host_bytes_ += host;
  peak_bytes_ = std::max(peak_bytes_, bytes_);
}

// Undefined tensors are held as such.
Stash::Piece Stash::hold(Tensor tensor, const char* what) {
  Piece piece;
  if (!tensor.defined()) return piece;
  const void* const storage = storage_of(tensor);
  const auto [it, is_new] = held_.try_emplace(storage);
  Held& held = it->second;
  ++held.uses;
  if (is_new) {
    held.bytes = static_cast<int64_t>(tensor.storage().nbytes());
    held.what = what;
    held.layer = layer_;
    if (options_.offload) {
      held.host = copied_to_host(whole_storage(tensor));
      held.origin = tensor.storage().getWeakStorageImpl();
    }
    count(options_.offload ? 0 : held.bytes, options_.offload ? held.bytes : 0);
  }
  if (!options_.offload) {
    piece.tensor = std::move(tensor);
    return piece;
  }
  // Of the tensor itself only dtype and device stay.
  piece.tensor = at::empty({0}, tensor.options());
  piece.storage = storage;
  piece.sizes = tensor.sizes().vec();
  piece.strides = tensor.strides().vec();
  piece.offset = tensor.storage_offset();
  return piece;
}

Tensor Stash::take(Piece piece) {
  if (!piece.tensor.defined()) return {};
  const auto it = held_.find(piece.storage != nullptr ? piece.storage : storage_of(piece.tensor));
  Held& held = it->second;
  Tensor tensor = std::move(piece.tensor);
  if (piece.storage != nullptr) {
    if (!held.back.defined()) {
      held.back = copied_back(held.host, tensor.device());
      held.host = Tensor();
      count(held.bytes, -held.bytes);
    }
    tensor.set_(held.back.storage(), piece.offset, piece.sizes, piece.strides);
  }
  if (--held.uses == 0) {
    count(-held.bytes, 0);
    held_.erase(it);
  }
  return tensor;
}

Tensor Stash::pop() {
  PHALANX_CHECK(!entries_.empty(), "pop from an empty stash: forward pushed less than backward pops");
  Entry entry = std::move(entries_.back());
  entries_.pop_back();
  std::vector<Tensor> tensors;
  size_t next_hash = 0;
  for (Piece& piece : entry.pieces) {
    tensors.push_back(take(std::move(piece)));
    if (kHashStash && tensors.back().defined()) {
      PHALANX_CHECK(hash_bytes(tensors.back()) == entry.hashes[next_hash++],
                    std::string("'") + entry.what + "' changed between push and pop");
    }
  }
  return entry.rebuild ? entry.rebuild(tensors) : tensors[0];
}

std::map<std::string, int64_t> Stash::bytes_by_label() const {
  std::map<std::string, int64_t> result;
  for (const auto& [storage, held] : held_) result[held.what] += held.bytes;
  return result;
}

std::vector<StashItem> Stash::items() const {
  std::map<std::pair<int, std::string>, int64_t> bytes;
  for (const auto& [storage, held] : held_) bytes[{held.layer, held.what}] += held.bytes;
  std::vector<StashItem> result;
  for (const auto& [key, sum] : bytes)
    result.push_back({.label = key.second, .layer = key.first, .bytes = sum});
  return result;
}

}  // namespace phalanx
