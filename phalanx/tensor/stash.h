// File: phalanx/tensor/stash.h
//
// Purpose: what backward needs, made visible. Forward pushes, backward pops in reverse order; so activation memory is
//   a number we can print and prove, and recomputation is a wrapper. One stash per (micro-batch, chunk).
// Contract: last in, first out. A null stash drops pushes: no backward will follow (evaluation, recomputation's first
//   pass), and modules may skip work that only backward needs. push_rebuild stores a handle that rebuilds a tensor
//   (a norm or activation output) from `sources`; pop resolves it. bytes() counts what is held, each storage once.
//   With `keep_all`, wrappers that would recompute push everything instead. With `offload`, what is pushed moves to host
//   memory (pinned for a GPU, a copy all the same on the CPU) and pop brings it back, bit for bit, to where it was: bytes()
//   then counts only what is back, host_bytes() the copies. A storage moves once however often it is pushed.
//   In debug builds push hashes the tensor's bytes and pop aborts, naming `what`, when they changed meanwhile.
// Units: bytes.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace phalanx {

using at::Tensor;

struct StashOptions {
  bool keep_all = false;
  bool offload = false;
};

inline constexpr int kNoLayer = -1;

struct StashItem {
  std::string label;
  int layer = kNoLayer;  // in the pattern
  int64_t bytes = 0;     // on the device or, offloaded, on the host
};

class Stash {
 public:
  Stash() = default;
  explicit Stash(StashOptions options) : options_(options) {}
  static Stash null();
  bool is_null() const { return null_; }
  bool keeps_all() const { return options_.keep_all; }

  // Whose pushes follow, for `items`.
  void enter_layer(int layer) { layer_ = layer; }

  void push(Tensor tensor, const char* what);
  // `rebuild` reads only `sources`, which are counted like pushed tensors.
  void push_rebuild(std::vector<Tensor> sources, std::function<Tensor(const std::vector<Tensor>&)> rebuild,
                    const char* what);
  Tensor pop();

  bool empty() const { return entries_.empty(); }
  size_t size() const { return entries_.size(); }
  int64_t bytes() const { return bytes_; }
  int64_t peak_bytes() const { return peak_bytes_; }
  int64_t host_bytes() const { return host_bytes_; }
  // Held bytes by `what`; a storage counts for the label that pushed it first.
  std::map<std::string, int64_t> bytes_by_label() const;
  std::vector<StashItem> items() const;  // by layer and label

 private:
  // A tensor of an entry; offloaded, how to find it again in its storage.
  struct Piece {
    Tensor tensor;
    const void* storage = nullptr;  // of an offloaded one
    std::vector<int64_t> sizes;
    std::vector<int64_t> strides;
    int64_t offset = 0;
  };
  struct Entry {
    std::vector<Piece> pieces;
    std::function<Tensor(const std::vector<Tensor>&)> rebuild;  // empty: tensors[0] itself
    const char* what = "";
    std::vector<uint64_t> hashes;
  };
  struct Held {
    int64_t uses = 0;
    int64_t bytes = 0;
    const char* what = "";
    int layer = kNoLayer;
    Tensor host;  // the whole storage, offloaded
    Tensor back;  // the same on the device, from the first pop on
    std::optional<c10::weak_intrusive_ptr<c10::StorageImpl>> origin;  // no other storage takes its address
  };
  void add(std::vector<Tensor> tensors, Entry entry);
  Piece hold(Tensor tensor, const char* what);
  Tensor take(Piece piece);
  void count(int64_t device, int64_t host);

  bool null_ = false;
  StashOptions options_;
  int layer_ = kNoLayer;
  std::vector<Entry> entries_;
  std::unordered_map<const void*, Held> held_;
  int64_t bytes_ = 0;
  int64_t peak_bytes_ = 0;
  int64_t host_bytes_ = 0;
};

}  // namespace phalanx
