#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "phalanx/pipeline/verify.h"
#include "phalanx/pipeline/verify_report.h"

namespace phalanx {
namespace {

constexpr int kAbsent = -1;
constexpr size_t kNumOps = 8;
using Positions = std::array<int, kNumOps>;  // by Op: where a rank's list has it first

// One rank's list: everything once, and everything after what it needs. Across ranks the messages carry the order:
// verify_messages pairs them and verify_deadlock runs them, so a rank-local proof is enough.
class RankCheck {
 public:
  RankCheck(const Schedule& schedule, const std::vector<Holder>& by_stage, int rank, VerifyReport& report)
      : schedule_(schedule),
        by_stage_(by_stage),
        rank_(rank),
        list_(schedule.ranks[static_cast<size_t>(rank)]),
        stages_(schedule.placement[static_cast<size_t>(rank)]),
        report_(report) {}

  void run(std::vector<Positions>& scratch) {
    const size_t units = static_cast<size_t>(schedule_.chunks) * static_cast<size_t>(schedule_.micro_batches);
    if (list_.size() < units) {  // then the table would be larger than what was given
      report_missing_forwards(units);
      return;
    }
    scratch.assign(units, absent());
    positions_ = &scratch;
    index();
    for (int chunk = 0; chunk < schedule_.chunks; ++chunk) {
      for (int micro_batch = 0; micro_batch < schedule_.micro_batches; ++micro_batch) {
        check_once(chunk, micro_batch);
        check_forward(chunk, micro_batch);
        if (!schedule_.forward_only) check_backward(chunk, micro_batch);
      }
    }
  }

 private:
  static Positions absent() {
    Positions positions;
    positions.fill(kAbsent);
    return positions;
  }

  size_t unit(int chunk, int micro_batch) const {
    return static_cast<size_t>(chunk) * static_cast<size_t>(schedule_.micro_batches) +
           static_cast<size_t>(micro_batch);
  }

  int position(Op op, int chunk, int micro_batch) const {
    return (*positions_)[unit(chunk, micro_batch)][static_cast<size_t>(op)];
  }

  int input_gradient_position(int chunk, int micro_batch) const {
    const int whole = position(Op::kBackward, chunk, micro_batch);
    return whole == kAbsent ? position(Op::kBackwardInput, chunk, micro_batch) : whole;
  }

  // Among one more than there are actions one is missing: looking at so many is enough.
  void report_missing_forwards(size_t units) {
    units = std::min(units, list_.size() + kMaxViolations);
    std::vector<bool> seen(units, false);
    for (const Action& action : list_) {
      const size_t at = unit(action.chunk, action.micro_batch);
      if (action.op == Op::kForward && at < units) seen[at] = true;
    }
    const auto m = static_cast<size_t>(schedule_.micro_batches);
    for (size_t i = 0; i < units && !report_.full(Violation::kOnce); ++i) {
      if (!seen[i]) report_missing("F", static_cast<int>(i / m), static_cast<int>(i % m));
    }
  }

  void report_missing(const char* what, int chunk, int micro_batch) {
    report_.add(Violation::kOnce,
                fmt::format("rank {} never runs {} mb {} chunk {}", rank_, what, micro_batch, chunk));
  }

  std::string name(int at) const { return name_action(schedule_, rank_, at); }

  void index() {
    for (int at = 0; at < static_cast<int>(list_.size()); ++at) {
      const Action& action = list_[static_cast<size_t>(at)];
      int& first = (*positions_)[unit(action.chunk, action.micro_batch)][static_cast<size_t>(action.op)];
      if (first == kAbsent) {
        first = at;
      } else if (!report_.full(Violation::kOnce)) {
        report_.add(Violation::kOnce, fmt::format("{} repeats action {}", name(at), first));
      }
      if (schedule_.forward_only && is_backward(action.op) && !report_.full(Violation::kOnce)) {
        report_.add(Violation::kOnce, name(at) + ": a forward-only schedule has F and its messages alone");
      }
    }
  }

  void check_once(int chunk, int micro_batch) {
    if (position(Op::kForward, chunk, micro_batch) == kAbsent) report_missing("F", chunk, micro_batch);
    if (schedule_.forward_only) return;
    const int whole = position(Op::kBackward, chunk, micro_batch);
    const int input = position(Op::kBackwardInput, chunk, micro_batch);
    const int weight = position(Op::kBackwardWeight, chunk, micro_batch);
    if (whole == kAbsent && input == kAbsent && weight == kAbsent) {
      report_missing("BW (or B and W)", chunk, micro_batch);
    } else if (whole == kAbsent && input == kAbsent) {
      report_missing("B", chunk, micro_batch);
    } else if (whole == kAbsent && weight == kAbsent) {
      report_missing("W", chunk, micro_batch);
    } else if (whole != kAbsent && (input != kAbsent || weight != kAbsent)) {
      const int other = input == kAbsent ? weight : input;
      report_.add(Violation::kOnce, fmt::format("{} repeats part of action {}", name(other), whole));
    }
  }

  // `after` must come behind `before`; what is absent was reported as such.
  void require_order(int before, int after) {
    if (before == kAbsent || after == kAbsent || before < after || report_.full(Violation::kData)) return;
    report_.add(Violation::kData, fmt::format("{} comes before action {} ({}), which it needs", name(after),
                                              before, to_string(list_[static_cast<size_t>(before)])));
  }

  // The message that brings what the action at `compute` needs or takes what it makes, when the stage at the other end
  // is another rank's.
  void require_message(Op op, int chunk, int micro_batch, int compute, int other_rank) {
    if (compute == kAbsent) return;
    const int message = position(op, chunk, micro_batch);
    const bool receives = op == Op::kRecvForward || op == Op::kRecvBackward;
    if (message != kAbsent) {
      receives ? require_order(message, compute) : require_order(compute, message);
    } else if (!report_.full(Violation::kData)) {
      const Action missing = {.op = op, .micro_batch = micro_batch, .chunk = chunk, .peer = other_rank};
      report_.add(Violation::kData, fmt::format("{}: its {} (no {})", name(compute),
                                                receives ? "input is never received" : "result is never sent",
                                                to_string(missing)));
    }
  }

  void check_forward(int chunk, int micro_batch) {
    const int stage = stages_[static_cast<size_t>(chunk)];
    const int own = position(Op::kForward, chunk, micro_batch);
    if (stage > 0) {
      const Holder before = by_stage_[static_cast<size_t>(stage - 1)];
      if (before.rank == rank_) {
        require_order(position(Op::kForward, before.chunk, micro_batch), own);
      } else {
        require_message(Op::kRecvForward, chunk, micro_batch, own, before.rank);
      }
    }
    if (stage + 1 < schedule_.num_stages()) {
      const Holder after = by_stage_[static_cast<size_t>(stage) + 1];
      if (after.rank != rank_) require_message(Op::kSendForward, chunk, micro_batch, own, after.rank);
    }
  }

  void check_backward(int chunk, int micro_batch) {
    const int stage = stages_[static_cast<size_t>(chunk)];
    const int own = input_gradient_position(chunk, micro_batch);
    require_order(position(Op::kForward, chunk, micro_batch), own);
    require_order(position(Op::kBackwardInput, chunk, micro_batch),
                  position(Op::kBackwardWeight, chunk, micro_batch));
    if (stage + 1 < schedule_.num_stages()) {
      const Holder after = by_stage_[static_cast<size_t>(stage) + 1];
      if (after.rank == rank_) {
        require_order(input_gradient_position(after.chunk, micro_batch), own);
      } else {
        require_message(Op::kRecvBackward, chunk, micro_batch, own, after.rank);
      }
    }
    if (stage > 0) {
      const Holder before = by_stage_[static_cast<size_t>(stage - 1)];
      if (before.rank != rank_) require_message(Op::kSendBackward, chunk, micro_batch, own, before.rank);
    }
  }

  const Schedule& schedule_;
  const std::vector<Holder>& by_stage_;
  int rank_;
  const ActionList& list_;
  const std::vector<int>& stages_;
  VerifyReport& report_;
  std::vector<Positions>* positions_ = nullptr;
};

}  // namespace

void verify_actions(const Schedule& schedule, VerifyReport& report) {
  const std::vector<Holder> by_stage = holders(schedule.placement);
  std::vector<Positions> scratch;
  for (int rank = 0; rank < schedule.pp; ++rank) RankCheck(schedule, by_stage, rank, report).run(scratch);
}

}  // namespace phalanx
