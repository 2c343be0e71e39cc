// File: phalanx/comm/transfer.h
//
// Purpose: an operation whose ranks have all come, as slices of memory work that any threads may do in any order.
// Contract: every slice is run once. Slices write disjoint ranges, and none reads what another writes, so the result does
//   not depend on who runs them when. In place is safe where group.h allows it: the only slice that reads a range which
//   is written is the one that writes it.
// Units: elements; bytes where the name says so.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "phalanx/comm/operation.h"

namespace phalanx::comm {

// One rank's buffers. In a message, the first part is the sender's and the second the receiver's.
struct Part {
  const std::byte* in = nullptr;
  std::byte* out = nullptr;
  std::vector<int64_t> out_counts;  // all_to_all only: elements from each rank
  std::vector<int64_t> in_counts;   // and for each rank
};

class Transfer {
 public:
  Transfer() = default;
  // `count`: elements of the described tensor. parts must outlive this.
  Transfer(const Description& what, int64_t count, const std::vector<Part>& parts);

  int64_t slices() const { return units_ * slices_per_unit_; }
  int64_t written_bytes() const { return written_bytes_; }  // by all ranks together
  void run(int64_t slice) const;

 private:
  struct Range {
    int64_t unit, begin, count;
  };
  // A unit is what has one source and one set of destinations.
  int64_t unit_count(int64_t unit) const;
  void reduce(const Range& range) const;
  void copy(const Range& range) const;
  void exchange(const Range& range) const;
  std::byte* at(std::byte* base, int64_t element) const { return base + element * element_bytes_; }
  const std::byte* at(const std::byte* base, int64_t element) const {
    return base + element * element_bytes_;
  }

  Description what_;
  const std::vector<Part>* parts_ = nullptr;
  int64_t count_ = 0, element_bytes_ = 1;
  int64_t units_ = 0, slices_per_unit_ = 0, slice_count_ = 1;
  int64_t written_bytes_ = 0;
};

}  // namespace phalanx::comm
