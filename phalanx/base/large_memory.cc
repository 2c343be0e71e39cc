#include "phalanx/base/large_memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <new>

namespace phalanx {

std::shared_ptr<void> allocate_large(size_t bytes) {
  constexpr size_t kHugePage = size_t{2} << 20;
  constexpr size_t kLine = 64;
  const size_t alignment = bytes >= kHugePage ? kHugePage : kLine;
  const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  void* memory = std::aligned_alloc(alignment, rounded == 0 ? alignment : rounded);
  if (memory == nullptr) throw std::bad_alloc();
  if (alignment == kHugePage) ::madvise(memory, rounded, MADV_HUGEPAGE);  // a wish; small pages work too
  return {memory, std::free};
}

}  // namespace phalanx
