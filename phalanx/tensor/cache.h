// File: phalanx/tensor/cache.h
//
// Purpose: what generation keeps between steps, by local layer index: pools of key/value pages of attention, and of
//   state-space layers one row a sequence, whatever its length. One `step` mixes prefill and decode of ragged requests:
//   every row of a Batch carries its slot and its position.
// Contract: a slot is one sequence. Its pages are taken from the layer's pool as it grows and go back when it is
//   freed. Positions of a slot are appended in order. copy_slot shares full pages (they are never written again) and
//   copies the last, partly filled one, and the states. Reading gathers a slot's pages in order. A new slot's states are
//   zero; layers update them in place, in rows of the pools: pool_rows says which. A pool may move when slots are made.
// Shapes: a page holds `page_size` positions of [2 (key, value), groups, head_dim]; windows [rows, taps, channels] in the
//   cache's dtype, the raw inputs of the convolution, oldest first; states [rows, ..] in fp32 (fp64 in an fp64 cache).
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
  // Of a layer that keeps nothing all sizes are zero.
  struct LayerShape {
    int64_t groups = 0;
    int64_t head_dim = 0;
    int64_t taps = 0;  // earlier rows that the convolution reads
    int64_t channels = 0;
    std::vector<int64_t> state;
    bool operator==(const LayerShape&) const = default;
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

  // What a decode step reads in place: the layer's pool, which pages of it the slots have, in order (int64 [n, most pages],
  // rows filled up with zeros, on the CPU), and how many positions.
  const Tensor& pages(int64_t layer) const { return pool_at(layer).pages; }
  Tensor page_table(int64_t layer, const std::vector<int64_t>& slots) const;
  Tensor lengths(int64_t layer, const std::vector<int64_t>& slots) const;

  // Where a slot's states lie in the pools below, and those of several: int64 [n] on the cache's device.
  int64_t pool_row(int64_t slot) const;
  Tensor pool_rows(const std::vector<int64_t>& slots) const;
  const Tensor& windows(int64_t layer) const { return pool_at(layer).windows; }
  const Tensor& states(int64_t layer) const { return pool_at(layer).states; }

  const std::vector<LayerShape>& shapes() const { return shapes_; }
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
    Tensor windows;  // undefined where the layer has no state
    Tensor states;
  };
  int64_t take_row();
  int64_t take_page(Pool& pool);
  void drop_page(Pool& pool, int64_t page);
  Pool& pool_at(int64_t layer);
  const Pool& pool_at(int64_t layer) const;

  std::vector<LayerShape> shapes_;
  int64_t page_size_;
  at::TensorOptions options_;
  std::vector<Pool> pools_;
  int64_t next_slot_ = 0;
  int64_t row_capacity_ = 0;
  std::vector<int64_t> free_rows_;
  std::map<int64_t, int64_t> rows_;  // of the state pools, by slot
};

}  // namespace phalanx
