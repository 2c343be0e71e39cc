// File: phalanx/comm/operation.h
//
// Purpose: the words in which ranks describe an operation to each other, without LibTorch: kind, element type, shape.
// Contract: two ranks that describe one operation must give equal descriptions; describe() is the text of one in an error
//   message, such as "all_reduce sum f32 [4, 8]" or "broadcast from rank 2 bf16 [16]".
// Shapes: what the other ranks must agree on: the tensor of all_reduce, broadcast, send and recv; `in` of all_gather;
//   `out` of reduce_scatter. Dim 0 of an all_to_all differs from rank to rank and is -1 here, "*" in the text.
// Units: elements, bytes.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

namespace phalanx::comm {

enum class ReduceOp : uint8_t { kSum, kMax };

enum class OpKind : uint8_t {
  kAllReduce,
  kAllGather,
  kReduceScatter,
  kAllToAll,
  kBroadcast,
  kSend,
  kRecv,
  kBarrier
};
inline constexpr int kOpKinds = 8;

enum class Dtype : uint8_t { kF64, kF32, kBF16, kF16, kI64, kI32, kU8 };

const char* op_name(OpKind kind);
const char* dtype_name(Dtype dtype);
int64_t dtype_bytes(Dtype dtype);

// The sizes of a tensor without an allocation. Dims behind the eighth are multiplied into the eighth.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> sizes) : Shape(std::span(sizes.begin(), sizes.size())) {}
  explicit Shape(std::span<const int64_t> sizes);
  void set_any_rows() { sizes_[0] = -1; }
  bool operator==(const Shape&) const = default;
  std::string text() const;

 private:
  std::array<int64_t, 8> sizes_{};
  int dims_ = 0;
};

struct Description {
  OpKind kind = OpKind::kBarrier;
  Dtype dtype = Dtype::kU8;
  ReduceOp reduce = ReduceOp::kSum;
  int peer = -1;  // the root of a broadcast, the other side of a message; a rank of the group
  Shape shape{};
};

// Whether two ranks mean the same operation. A send matches the recv of its other side.
bool agree(const Description& a, const Description& b);

// `ranks` are the world ranks of the group, which is how a user knows them.
std::string describe(const Description& what, std::span<const int> ranks);

}  // namespace phalanx::comm
