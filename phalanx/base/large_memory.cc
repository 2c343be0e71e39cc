#include "phalanx/base/large_memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

namespace phalanx {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kLine = 64;

size_t rounded_up(size_t bytes, size_t to) {
  return (bytes + to - 1) / to * to;
}

std::shared_ptr<void> allocate_small(size_t bytes) {
  const size_t rounded = rounded_up(bytes == 0 ? 1 : bytes, kLine);
  void* memory = std::aligned_alloc(kLine, rounded);
  if (memory == nullptr) throw std::bad_alloc();
  std::memset(memory, 0, rounded);
  return {memory, std::free};
}

}  // namespace

std::shared_ptr<void> allocate_large(size_t bytes) {
  if (bytes < kHugePage) return allocate_small(bytes);
  // One huge page more than needed, to begin at a boundary; what is never touched is never there.
  const size_t size = rounded_up(bytes, kHugePage) + kHugePage;
  void* mapped = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  void* memory = mapped;
  size_t space = size;
  std::align(kHugePage, size - kHugePage, memory, space);
  ::madvise(memory, size - kHugePage, MADV_HUGEPAGE);  // a wish; small pages work too
  return {memory, [mapped, size](void*) { ::munmap(mapped, size); }};
}

}  // namespace phalanx
