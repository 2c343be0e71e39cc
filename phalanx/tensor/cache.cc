#include "phalanx/tensor/cache.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "phalanx/base/error.h"
#include "phalanx/tensor/large_tensor.h"

namespace phalanx {
namespace {

template <typename Sequences>
auto& sequence_at(Sequences& sequences, int64_t slot) {
  const auto it = sequences.find(slot);
  PHALANX_CHECK(it != sequences.end(), "slot " + std::to_string(slot) + " does not exist");
  return it->second;
}

Tensor grown(const Tensor& pool, int64_t rows) {
  std::vector<int64_t> sizes = pool.sizes().vec();
  sizes[0] = rows;
  Tensor larger = large_zeros(c10::multiply_integers(sizes), pool.options()).view(sizes);
  larger.narrow(0, 0, pool.size(0)).copy_(pool);
  return larger;
}

}  // namespace

Cache::Cache(std::vector<LayerShape> layers, int64_t page_size, at::TensorOptions options)
    : shapes_(std::move(layers)), page_size_(page_size), options_(options) {
  PHALANX_CHECK(page_size > 0, "a page holds at least one position");
  const bool wide = c10::typeMetaToScalarType(options.dtype()) == at::kDouble;
  for (const LayerShape& shape : shapes_) {
    Pool pool;
    pool.shape = shape;
    pool.pages = at::empty({0, page_size, 2, shape.groups, shape.head_dim}, options_);
    if (!shape.state.empty()) {
      pool.windows = at::zeros({0, shape.taps, shape.channels}, options_);
      std::vector<int64_t> sizes = shape.state;
      sizes.insert(sizes.begin(), 0);
      pool.states = at::zeros(sizes, options_.dtype(wide ? at::kDouble : at::kFloat));
    }
    pools_.push_back(std::move(pool));
  }
}

Cache::Pool& Cache::pool_at(int64_t layer) {
  return pools_.at(static_cast<size_t>(layer));
}
const Cache::Pool& Cache::pool_at(int64_t layer) const {
  return pools_.at(static_cast<size_t>(layer));
}

int64_t Cache::new_slot() {
  const int64_t slot = next_slot_++;
  for (Pool& pool : pools_) pool.sequences[slot];
  const int64_t row = rows_[slot] = take_row();
  for (Pool& pool : pools_) {
    if (!pool.states.defined()) continue;
    pool.windows[row].zero_();
    pool.states[row].zero_();
  }
  return slot;
}

int64_t Cache::take_row() {
  if (free_rows_.empty()) {
    const int64_t capacity = std::max<int64_t>(1, 2 * row_capacity_);
    for (Pool& pool : pools_) {
      if (!pool.states.defined()) continue;
      pool.windows = grown(pool.windows, capacity);
      pool.states = grown(pool.states, capacity);
    }
    for (int64_t row = capacity - 1; row >= row_capacity_; --row) free_rows_.push_back(row);
    row_capacity_ = capacity;
  }
  const int64_t row = free_rows_.back();
  free_rows_.pop_back();
  return row;
}

int64_t Cache::pool_row(int64_t slot) const {
  return sequence_at(rows_, slot);
}

Tensor Cache::pool_rows(const std::vector<int64_t>& slots) const {
  std::vector<int64_t> rows;
  for (const int64_t slot : slots) rows.push_back(pool_row(slot));
  return at::tensor(rows, at::TensorOptions(at::kLong)).to(options_.device());
}

int64_t Cache::take_page(Pool& pool) {
  if (pool.free_pages.empty()) {
    // Doubling keeps the cost of growth proportional to what is stored.
    const int64_t old_capacity = pool.pages.size(0);
    const int64_t capacity = std::max<int64_t>(4, 2 * old_capacity);
    pool.pages = grown(pool.pages, capacity);
    pool.references.resize(static_cast<size_t>(capacity), 0);
    for (int64_t page = capacity - 1; page >= old_capacity; --page) pool.free_pages.push_back(page);
  }
  const int64_t page = pool.free_pages.back();
  pool.free_pages.pop_back();
  pool.references[static_cast<size_t>(page)] = 1;
  return page;
}

void Cache::drop_page(Pool& pool, int64_t page) {
  if (--pool.references[static_cast<size_t>(page)] == 0) pool.free_pages.push_back(page);
}

int64_t Cache::copy_slot(int64_t slot) {
  const int64_t copy = next_slot_++;
  for (Pool& pool : pools_) {
    Sequence sequence = sequence_at(pool.sequences, slot);
    const int64_t full_pages = sequence.length / page_size_;
    for (int64_t i = 0; i < full_pages; ++i)
      ++pool.references[static_cast<size_t>(sequence.pages[static_cast<size_t>(i)])];
    if (sequence.length % page_size_ != 0) {
      const int64_t fresh = take_page(pool);
      pool.pages[fresh].copy_(pool.pages[sequence.pages.back()]);
      sequence.pages.back() = fresh;
    }
    pool.sequences[copy] = sequence;
  }
  const int64_t from = pool_row(slot);
  const int64_t to = rows_[copy] = take_row();
  for (Pool& pool : pools_) {
    if (!pool.states.defined()) continue;
    pool.windows[to].copy_(pool.windows[from]);
    pool.states[to].copy_(pool.states[from]);
  }
  return copy;
}

void Cache::free_slot(int64_t slot) {
  for (Pool& pool : pools_) {
    for (const int64_t page : sequence_at(pool.sequences, slot).pages) drop_page(pool, page);
    pool.sequences.erase(slot);
  }
  free_rows_.push_back(pool_row(slot));
  rows_.erase(slot);
}

int64_t Cache::length(int64_t layer, int64_t slot) const {
  return sequence_at(pool_at(layer).sequences, slot).length;
}

void Cache::append(int64_t layer, int64_t slot, const Tensor& k, const Tensor& v) {
  Pool& pool = pool_at(layer);
  Sequence& sequence = sequence_at(pool.sequences, slot);
  const Tensor rows = at::stack({k, v}, 1);  // [n, 2, groups, head_dim]
  int64_t done = 0;
  while (done < rows.size(0)) {
    const int64_t offset = sequence.length % page_size_;
    if (offset == 0) sequence.pages.push_back(take_page(pool));
    const int64_t count = std::min(page_size_ - offset, rows.size(0) - done);
    pool.pages[sequence.pages.back()].narrow(0, offset, count).copy_(rows.narrow(0, done, count));
    sequence.length += count;
    done += count;
  }
}

std::pair<Tensor, Tensor> Cache::read(int64_t layer, int64_t slot) const {
  const Pool& pool = pool_at(layer);
  const Sequence& sequence = sequence_at(pool.sequences, slot);
  const Tensor index = at::tensor(sequence.pages, at::TensorOptions(at::kLong)).to(pool.pages.device());
  const Tensor rows = pool.pages.index_select(0, index).flatten(0, 1).narrow(0, 0, sequence.length);
  return {rows.select(1, 0), rows.select(1, 1)};
}

Tensor Cache::page_table(int64_t layer, const std::vector<int64_t>& slots) const {
  const Pool& pool = pool_at(layer);
  size_t most = 0;
  for (const int64_t slot : slots) most = std::max(most, sequence_at(pool.sequences, slot).pages.size());
  const Tensor table = at::zeros({static_cast<int64_t>(slots.size()), static_cast<int64_t>(most)},
                                 at::TensorOptions(at::kLong));
  auto* row = table.data_ptr<int64_t>();
  for (const int64_t slot : slots) {
    std::ranges::copy(sequence_at(pool.sequences, slot).pages, row);
    row += most;
  }
  return table;
}

Tensor Cache::lengths(int64_t layer, const std::vector<int64_t>& slots) const {
  std::vector<int64_t> lengths;
  for (const int64_t slot : slots) lengths.push_back(length(layer, slot));
  return at::tensor(lengths, at::TensorOptions(at::kLong));
}

int64_t Cache::bytes_in_use() const {
  int64_t bytes = 0;
  for (const Pool& pool : pools_) {
    const int64_t used = pool.pages.size(0) - static_cast<int64_t>(pool.free_pages.size());
    if (pool.pages.size(0) > 0) bytes += used * static_cast<int64_t>(pool.pages[0].nbytes());
    if (!pool.states.defined() || row_capacity_ == 0) continue;
    bytes += static_cast<int64_t>(rows_.size()) *
             static_cast<int64_t>(pool.windows[0].nbytes() + pool.states[0].nbytes());
  }
  return bytes;
}

}  // namespace phalanx
