#include "phalanx/comm/counting_group.h"

#include <fmt/format.h>

namespace phalanx::comm {

void CallCounter::add(OpKind kind, int64_t bytes) {
  calls_[static_cast<size_t>(kind)] += 1;
  bytes_[static_cast<size_t>(kind)] += bytes;
}

int64_t CallCounter::calls() const {
  int64_t sum = 0;
  for (const auto& calls : calls_) sum += calls;
  return sum;
}

void CallCounter::reset() {
  for (auto& calls : calls_) calls = 0;
  for (auto& bytes : bytes_) bytes = 0;
}

std::string CallCounter::text() const {
  std::string text;
  for (int k = 0; k < kOpKinds; ++k) {
    const auto kind = static_cast<OpKind>(k);
    if (calls(kind) == 0) continue;
    if (!text.empty()) text += ", ";
    text += fmt::format("{} x {} of {} bytes in all", calls(kind), op_name(kind), bytes(kind));
  }
  return text.empty() ? "nothing" : text;
}

WorkPtr CountingGroup::around(const Asked& asked, const std::function<WorkPtr()>& start) {
  counter_->add(asked.kind, asked.bytes);
  return start();
}

}  // namespace phalanx::comm
