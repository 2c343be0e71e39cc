// File: phalanx/data/index_array.h
//
// Purpose: a large array of plain numbers that does not change any more, whoever holds its bytes: this process, or a
//   file mapped by several.
// Contract: copies share the bytes, which live as long as any of them. make_index_array gives memory without a value;
//   large ones ask for huge pages, since shuffles touch them at random.
// Units: elements.
// Example: auto a = make_index_array<uint32_t>(n); fill(a.values); IndexArray<uint32_t> done = a.finish();
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>

#include "phalanx/base/large_memory.h"

namespace phalanx {

template <typename T>
class IndexArray {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  using value_type = T;
  using const_iterator = const T*;

  IndexArray() = default;
  IndexArray(std::shared_ptr<const void> owner, std::span<const T> values)
      : owner_(std::move(owner)), values_(values) {}

  size_t size() const { return values_.size(); }
  const T& operator[](size_t i) const { return values_[i]; }
  const T* begin() const { return values_.data(); }
  const T* end() const { return values_.data() + values_.size(); }
  std::span<const T> span() const { return values_; }
  const std::shared_ptr<const void>& owner() const { return owner_; }

 private:
  std::shared_ptr<const void> owner_;
  std::span<const T> values_;
};

template <typename T>
struct NewIndexArray {
  std::shared_ptr<void> owner;
  std::span<T> values;
  IndexArray<T> finish() const { return {owner, values}; }
};

template <typename T>
NewIndexArray<T> make_index_array(size_t count) {
  std::shared_ptr<void> owner = allocate_large(count * sizeof(T));
  T* first = static_cast<T*>(owner.get());
  return {std::move(owner), {first, count}};
}

}  // namespace phalanx
