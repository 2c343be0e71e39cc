// Generation, one row of each sequence. Ranges of positions have a fixed length, so the bits do not depend on who
// computes which of them.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <numbers>
#include <type_traits>
#include <vector>

#include "phalanx/base/error.h"
#include "phalanx/kernels/attention/attention.h"
#include "phalanx/kernels/attention/attention_decode_cpu.h"

namespace phalanx::kernels {
namespace {

constexpr int64_t kRangePositions = 256;
constexpr int64_t kVectorWidth = 16;
// Keys and values that keep a thread busy for longer than its start.
constexpr int64_t kElementsOfATask = int64_t{1} << 15;

struct Lists {
  Tensor table;    // [n, most pages]
  Tensor lengths;  // [n]
  int64_t pages_of(int64_t i, int64_t page_size) const { return (length(i) + page_size - 1) / page_size; }
  int64_t length(int64_t i) const { return lengths.const_data_ptr<int64_t>()[i]; }
  const int64_t* pages(int64_t i) const { return table.const_data_ptr<int64_t>() + i * table.size(1); }
};

Lists checked_lists(const Tensor& q, const Tensor& pages, const Tensor& page_table, const Tensor& lengths,
                    const AttentionSpec& spec) {
  PHALANX_CHECK(q.dim() == 3 && pages.dim() == 5 && pages.size(1) > 0 && pages.size(2) == 2 &&
                    pages.size(4) == q.size(2) && q.size(1) % pages.size(3) == 0,
                fmt::format("attention_decode: q {}, pages {}", fmt::join(q.sizes(), "x"),
                            fmt::join(pages.sizes(), "x")));
  PHALANX_CHECK(page_table.dim() == 2 && lengths.dim() == 1 && page_table.size(0) == q.size(0) &&
                    lengths.size(0) == q.size(0) && page_table.scalar_type() == at::kLong &&
                    lengths.scalar_type() == at::kLong && page_table.device().is_cpu(),
                "attention_decode: every row has a list of pages and a length");
  PHALANX_CHECK(spec.dropout == 0.0 && spec.window >= 0, "attention_decode: generation drops nothing");
  Lists lists{page_table.contiguous(), lengths.cpu().contiguous()};
  for (int64_t i = 0; i < q.size(0); ++i) {
    PHALANX_CHECK(lists.length(i) > 0 && lists.pages_of(i, pages.size(1)) <= page_table.size(1),
                  fmt::format("attention_decode: row {} has length {}", i, lists.length(i)));
    for (int64_t p = 0; p < lists.pages_of(i, pages.size(1)); ++p) {
      PHALANX_CHECK(lists.pages(i)[p] >= 0 && lists.pages(i)[p] < pages.size(0),
                    fmt::format("attention_decode: row {} lists page {}", i, lists.pages(i)[p]));
    }
  }
  return lists;
}

bool body_serves(const Tensor& q, const Tensor& pages) {
  const at::ScalarType stored = pages.scalar_type();
  const bool wide = q.scalar_type() == at::kDouble;
  return q.device().is_cpu() && pages.is_contiguous() &&
         (wide ? stored == at::kDouble : stored == at::kFloat || stored == at::kBFloat16);
}

struct Task {
  int64_t row = 0;
  int64_t begin = 0;
  int64_t end = 0;
};

template <typename T, typename S>
void compute(const DecodeShape& shape, const DecodeRange<T, S>& range, const DecodePart<S>& part) {
  if constexpr (std::is_same_v<S, float>) {
    if (shape.head_dim % kVectorWidth == 0) return decode_range(shape, range, part);
  }
  decode_range_plain(shape, range, part);
}

template <typename T, typename S>
Tensor run(const Tensor& q, const Tensor& pages, const Lists& lists, const AttentionSpec& spec) {
  const DecodeShape shape{q.size(1), pages.size(3), q.size(2), pages.size(1)};
  const int64_t heads_size = shape.heads * shape.head_dim;
  const int64_t part_size = heads_size + 2 * shape.heads;
  std::vector<Task> tasks;
  std::vector<int64_t> first_task;
  int64_t positions = 0;
  for (int64_t row = 0; row < q.size(0); ++row) {
    first_task.push_back(static_cast<int64_t>(tasks.size()));
    const int64_t length = lists.length(row);
    const int64_t first = spec.window > 0 ? std::max<int64_t>(0, length - spec.window) : 0;
    for (int64_t begin = first; begin < length; begin += kRangePositions) {
      tasks.push_back({row, begin, std::min(length, begin + kRangePositions)});
    }
    positions += length - first;
  }
  const auto num_tasks = static_cast<int64_t>(tasks.size());
  first_task.push_back(num_tasks);

  const auto options = q.options().dtype(c10::CppTypeToScalarType<S>::value);
  const Tensor queries = q.to(options).mul(spec.scale * std::numbers::log2e).contiguous();
  const Tensor parts = at::empty({num_tasks, part_size}, options);
  Tensor out = at::empty(q.sizes(), options);
  const auto part_of = [&](int64_t task) {
    S* part = parts.data_ptr<S>() + task * part_size;
    return DecodePart<S>{part, part + heads_size, part + heads_size + shape.heads};
  };
  const int64_t elements = positions * 2 * shape.groups * shape.head_dim;
  const int64_t grain = std::max<int64_t>(1, num_tasks * kElementsOfATask / elements);
  at::parallel_for(0, num_tasks, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Task& task = tasks[static_cast<size_t>(i)];
      compute(shape,
              DecodeRange<T, S>{static_cast<const T*>(pages.const_data_ptr()), lists.pages(task.row),
                                task.begin, task.end, lists.length(task.row),
                                queries.const_data_ptr<S>() + task.row * heads_size},
              part_of(i));
    }
  });
  for (int64_t row = 0; row < q.size(0); ++row) {
    const int64_t first = first_task[static_cast<size_t>(row)];
    const int64_t count = first_task[static_cast<size_t>(row) + 1] - first;
    decode_join<S>(shape, part_of(first), count, part_size, out.data_ptr<S>() + row * heads_size);
  }
  return out.to(q.scalar_type());
}

}  // namespace

Tensor attention_decode(const Tensor& q, const Tensor& pages, const Tensor& page_table, const Tensor& lengths,
                        const AttentionSpec& spec) {
  const Lists lists = checked_lists(q, pages, page_table, lengths, spec);
  if (q.size(0) == 0) return at::empty_like(q);
  if (!body_serves(q, pages)) return attention_decode_ref(q, pages, page_table, lengths, spec);
  if (pages.scalar_type() == at::kDouble) return run<double, double>(q, pages, lists, spec);
  if (pages.scalar_type() == at::kFloat) return run<float, float>(q, pages, lists, spec);
  return run<uint16_t, float>(q, pages, lists, spec);
}

Tensor attention_decode_ref(const Tensor& q, const Tensor& pages, const Tensor& page_table,
                            const Tensor& lengths, const AttentionSpec& spec) {
  const Lists lists = checked_lists(q, pages, page_table, lengths, spec);
  std::vector<Tensor> rows;
  for (int64_t i = 0; i < q.size(0); ++i) {
    const int64_t length = lists.length(i);
    const Tensor list = lists.table[i].narrow(0, 0, lists.pages_of(i, pages.size(1))).to(pages.device());
    const Tensor stored = pages.index_select(0, list).flatten(0, 1).narrow(0, 0, length);
    rows.push_back(
        attention_step(q.narrow(0, i, 1), stored.select(1, 0), stored.select(1, 1), length - 1, spec));
  }
  return rows.empty() ? at::empty_like(q) : at::cat(rows);
}

}  // namespace phalanx::kernels
