#include "phalanx/comm/operation.h"

#include <fmt/format.h>

#include <algorithm>

#include "phalanx/base/error.h"

namespace phalanx::comm {

const char* op_name(OpKind kind) {
  constexpr std::array<const char*, kOpKinds> kNames{
      "all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast", "send", "recv", "barrier"};
  return kNames.at(static_cast<size_t>(kind));
}

const char* dtype_name(Dtype dtype) {
  constexpr std::array<const char*, 7> kNames{"f64", "f32", "bf16", "f16", "i64", "i32", "u8"};
  return kNames.at(static_cast<size_t>(dtype));
}

int64_t dtype_bytes(Dtype dtype) {
  constexpr std::array<int64_t, 7> kBytes{8, 4, 2, 2, 8, 4, 1};
  return kBytes.at(static_cast<size_t>(dtype));
}

Shape::Shape(std::span<const int64_t> sizes) {
  for (const int64_t size : sizes) {
    if (dims_ < static_cast<int>(sizes_.size())) {
      sizes_[static_cast<size_t>(dims_++)] = size;
    } else {
      sizes_.back() *= size;
    }
  }
}

std::string Shape::text() const {
  std::string text = "[";
  for (int d = 0; d < dims_; ++d) {
    const int64_t size = sizes_[static_cast<size_t>(d)];
    if (d > 0) text += ", ";
    text += size < 0 ? "*" : std::to_string(size);
  }
  return text + "]";
}

bool agree(const Description& a, const Description& b) {
  if (a.dtype != b.dtype || a.reduce != b.reduce || a.shape != b.shape) return false;
  // Whose message meets whose is settled before this is asked; a collective must name one root.
  if (a.kind == OpKind::kSend) return b.kind == OpKind::kRecv;
  if (a.kind == OpKind::kRecv) return b.kind == OpKind::kSend;
  return a.kind == b.kind && a.peer == b.peer;
}

std::string describe(const Description& what, std::span<const int> ranks) {
  std::string text = op_name(what.kind);
  if (what.kind == OpKind::kBarrier) return text;
  if (what.kind == OpKind::kAllReduce) text += what.reduce == ReduceOp::kSum ? " sum" : " max";
  if (what.peer >= 0) {
    text += fmt::format(" {} rank {}", what.kind == OpKind::kSend ? "to" : "from",
                        ranks[static_cast<size_t>(what.peer)]);
  }
  return text + fmt::format(" {} {}", dtype_name(what.dtype), what.shape.text());
}

}  // namespace phalanx::comm
