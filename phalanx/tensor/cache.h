// File: phalanx/tensor/cache.h
//
// Purpose: what generation keeps between steps: pools of key/value pages by local layer index (state slots of
//   state-space layers will stand beside them). One `step` mixes prefill and decode of ragged requests: every row of a
//   Batch carries its slot and its position.
// Contract: a slot is one sequence. Its pages are taken from the layer's pool as it grows and go back when it is
//   freed. Positions of a slot are appended in order. copy_slot shares full pages (they are never written again) and
//   copies the last, partly filled one. Reading gathers a slot's pages in order.
// Shapes: a page holds `page_size` positions of [2 (key, value), groups, head_dim].
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

namespace phalanx {

using at::Tensor;

class Cache {
 public:
  struct LayerShape {
    int64_t groups = 0;
    int64_t head_dim = 0;
  };

  Cache(std::vector<LayerShape> layers, int64_t page_size, at::TensorOptions options);

  int64_t new_slot();
  int64_t copy_slot(int64_t slot);
  void free_slot(int64_t slot);

  // Positions stored so far for the slot in that layer.
  int64_t length(int64_t layer, int64_t slot) const;

  // Appends n rows [n, groups, head_dim] of keys and values.
  void append(int64_t layer, int64_t slot, const Tensor& k, const Tensor& v);
  // Keys and values of all stored positions, each [length, groups, head_dim].
  std::pair<Tensor, Tensor> read(int64_t layer, int64_t slot) const;

  int64_t bytes_in_use() const;

 private:
  struct Sequence {
    std::vector<int64_t> pages;
    int64_t length = 0;
  };
  struct Pool {
    LayerShape shape;
    Tensor pages;  // [capacity, page_size, 2, groups, head_dim]
    std::vector<int64_t> free_pages;
    std::vector<int64_t> references;  // slots that share a page
    std::map<int64_t, Sequence> sequences;
  };
  int64_t take_page(Pool& pool);
  void drop_page(Pool& pool, int64_t page);
  Pool& pool_at(int64_t layer);
  const Pool& pool_at(int64_t layer) const;

  int64_t page_size_;
  at::TensorOptions options_;
  std::vector<Pool> pools_;
  int64_t next_slot_ = 0;
};

}  // namespace phalanx
