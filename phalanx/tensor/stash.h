// File: phalanx/tensor/stash.h
//
// Purpose: what backward needs, made visible. Forward pushes, backward pops in reverse order; so activation memory is
//   a number we can print and prove, and recomputation is a wrapper. One stash per (micro-batch, chunk).
// Contract: last in, first out. A null stash drops pushes: no backward will follow (evaluation, recomputation's first
//   pass), and modules may skip work that only backward needs. push_rebuild stores a handle that rebuilds a tensor
//   (a norm or activation output) from `sources`; pop resolves it. bytes() counts what is held, each storage once.
//   In debug builds push hashes the tensor's bytes and pop aborts, naming `what`, when they changed meanwhile.
// Units: bytes.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

namespace phalanx {

using at::Tensor;

class Stash {
 public:
  Stash() = default;
  static Stash null();
  bool is_null() const { return null_; }

  void push(Tensor tensor, const char* what);
  // `rebuild` reads only `sources`, which are counted like pushed tensors.
  void push_rebuild(std::vector<Tensor> sources, std::function<Tensor(const std::vector<Tensor>&)> rebuild,
                    const char* what);
  Tensor pop();

  bool empty() const { return entries_.empty(); }
  size_t size() const { return entries_.size(); }
  int64_t bytes() const { return bytes_; }
  int64_t peak_bytes() const { return peak_bytes_; }
  // Held bytes by `what`; a storage counts for the label that pushed it first.
  std::map<std::string, int64_t> bytes_by_label() const;

 private:
  struct Entry {
    std::vector<Tensor> tensors;
    std::function<Tensor(const std::vector<Tensor>&)> rebuild;  // empty: tensors[0] itself
    const char* what = "";
    std::vector<uint64_t> hashes;
  };
  struct Held {
    int64_t uses = 0;
    int64_t bytes = 0;
    const char* what = "";
  };
  void add(Entry entry);
  void hold(const Tensor& tensor, const char* what);
  void release(const Tensor& tensor);

  bool null_ = false;
  std::vector<Entry> entries_;
  std::unordered_map<const void*, Held> held_;
  int64_t bytes_ = 0;
  int64_t peak_bytes_ = 0;
};

}  // namespace phalanx
