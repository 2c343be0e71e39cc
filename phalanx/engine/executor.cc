#include "phalanx/engine/executor.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <deque>

#include "phalanx/base/clock.h"
#include "phalanx/base/error.h"
#include "phalanx/engine/stage_messages.h"

namespace phalanx {
namespace {

// One (micro-batch, chunk) of this rank, from its F to its W.
struct Unit {
  Tensor in;   // boundary tensor before F; gradient of the output before B
  Tensor out;  // boundary tensor after F; gradient of the input after B
  ReceivedMessage arriving;
  bool has_message = false;
  size_t message_span = 0;  // of its receive, where the timeline is recorded
  Side side;
  Stash stash;
  WeightGrads grads;
  bool whole = false;  // keeps everything: has a place in the window
  int64_t held = 0;    // bytes counted for it
  int64_t hosted = 0;
};

class ScheduleRun {
 public:
  ScheduleRun(StageProgram& program, const Schedule& schedule, const ExecutorGroups& groups,
              const std::vector<Batch>& batches, const ExecutorOptions& options)
      : program_(program),
        schedule_(schedule),
        groups_(groups),
        batches_(batches),
        options_(options),
        rank_(groups.pipeline == nullptr ? 0 : groups.pipeline->rank()),
        holders_(holders(schedule.placement)),
        units_(static_cast<size_t>(schedule.chunks * schedule.micro_batches)) {
    PHALANX_CHECK(batches.size() == static_cast<size_t>(schedule.micro_batches),
                  "as many micro-batches as the schedule has");
    PHALANX_CHECK(schedule.pp == (groups.pipeline == nullptr ? 1 : groups.pipeline->size()),
                  "as many pipeline ranks as the schedule has");
    result_.nll.resize(batches.size());
    result_.started = monotonic_seconds();
  }

  ExecutorResult run() {
    const c10::NoGradGuard no_grad;
    for (const Action& action : schedule_.ranks[static_cast<size_t>(rank_)]) {
      arrived_ = options_.record ? monotonic_seconds() : 0;
      act(action);
      if (options_.record) record(action, arrived_, monotonic_seconds());
      while (!sent_.empty() && sent_.front().done()) drop_sent();
    }
    while (!sent_.empty()) drop_sent();
    list_peak();
    return std::move(result_);
  }

 private:
  Unit& unit(int chunk, int micro_batch) {
    return units_[static_cast<size_t>(chunk * schedule_.micro_batches + micro_batch)];
  }
  int stage_of(const Action& a) const {
    return schedule_.placement[static_cast<size_t>(rank_)][static_cast<size_t>(a.chunk)];
  }
  const Batch& batch_of(const Action& a) const { return batches_[static_cast<size_t>(a.micro_batch)]; }
  bool is_last(int stage) const { return stage + 1 == schedule_.num_stages(); }
  const Holder& holder(int stage) const { return holders_[static_cast<size_t>(stage)]; }
  // Pieces of tensors travel where rows are whole on every tensor-parallel rank.
  comm::Group* pieces(const Batch& batch) const {
    return options_.scatter_gather && batch.row_shards == 1 ? groups_.tensor : nullptr;
  }

  void act(const Action& action) {
    switch (action.op) {
      case Op::kForward:
        return forward(action);
      case Op::kBackwardInput:
      case Op::kBackward:
        return backward(action);
      case Op::kBackwardWeight: {
        list_peak();
        Unit& u = unit(action.chunk, action.micro_batch);
        u.grads.run_deferred();
        count(u);
        --pairs_;
        return;
      }
      case Op::kSendForward:
        return send(action, stage_of(action) + 1);
      case Op::kSendBackward:
        return send(action, stage_of(action));
      case Op::kRecvForward:
        return receive(action, stage_of(action));
      case Op::kRecvBackward:
        return receive(action, stage_of(action) + 1);
    }
  }

  void forward(const Action& action) {
    Unit& u = unit(action.chunk, action.micro_batch);
    const int stage = stage_of(action);
    const Batch& batch = batch_of(action);
    if (u.has_message) take_forward(u, stage, batch);
    open_stash(u);
    u.out = program_.forward(action.chunk, u.in, batch, u.side, u.stash);
    u.in = Tensor();
    if (is_last(stage)) {
      result_.nll[static_cast<size_t>(action.micro_batch)] = std::move(u.out);
    } else if (holder(stage + 1).rank == rank_) {
      Unit& next = unit(holder(stage + 1).chunk, action.micro_batch);
      next.in = std::move(u.out);
      for (const TensorSpec& spec : program_.side_into(stage + 1, batch)) {
        next.side.inputs[spec.name].value = u.side.inputs.at(spec.name).value;
      }
    }
    if (schedule_.forward_only) return;
    result_.peak_pairs = std::max(result_.peak_pairs, ++pairs_);
    count(u);
  }

  void open_stash(Unit& u) {
    if (schedule_.forward_only) {
      u.stash = Stash::null();
      return;
    }
    u.whole = whole_pairs_ < options_.stash.window;
    if (u.whole) {
      ++whole_pairs_;
      ++result_.whole_pairs;
    }
    u.stash = Stash({.keep_all = u.whole, .offload = options_.stash.offload});
  }

  void backward(const Action& action) {
    Unit& u = unit(action.chunk, action.micro_batch);
    const int stage = stage_of(action);
    const Batch& batch = batch_of(action);
    if (u.has_message) take_backward(u, stage, batch);
    list_peak();
    const bool split = action.op == Op::kBackwardInput;
    u.grads = WeightGrads(split ? WeightGrads::Mode::kDefer : WeightGrads::Mode::kNow);
    u.grads.on_applied = options_.on_applied;
    u.out = program_.backward(action.chunk, is_last(stage) ? batch.loss_weight : u.in, batch, u.side, u.stash,
                              u.grads);
    u.in = Tensor();
    if (stage > 0 && holder(stage - 1).rank == rank_) {
      Unit& before = unit(holder(stage - 1).chunk, action.micro_batch);
      before.in = std::move(u.out);
      for (const TensorSpec& spec : program_.side_into(stage, batch)) {
        const Tensor& grad = u.side.inputs.at(spec.name).grad;
        if (grad.defined()) before.side.add_grad(spec.name, grad);
      }
    }
    if (!split) --pairs_;
    if (u.whole) --whole_pairs_;
    count(u);
  }

  std::vector<TensorSpec> message_into(int stage, const Batch& batch) const {
    std::vector<TensorSpec> specs = {program_.boundary(batch)};
    for (TensorSpec& spec : program_.side_into(stage, batch)) specs.push_back(std::move(spec));
    return specs;
  }

  // The message that crosses the boundary before `stage`, one way or the other.
  void send(const Action& action, int stage) {
    Unit& u = unit(action.chunk, action.micro_batch);
    const Batch& batch = batch_of(action);
    std::vector<Tensor> tensors = {std::move(u.out)};
    for (const TensorSpec& spec : program_.side_into(stage, batch)) {
      const Side::Input& input = u.side.inputs.at(spec.name);
      const bool grads = action.op == Op::kSendBackward;
      tensors.push_back(grads ? (input.grad.defined() ? input.grad : at::zeros_like(input.value))
                              : input.value);
    }
    sent_.emplace_back(tensors, action.peer, *groups_.pipeline, pieces(batch));
  }

  void receive(const Action& action, int stage) {
    Unit& u = unit(action.chunk, action.micro_batch);
    const Batch& batch = batch_of(action);
    u.message_span = result_.spans.size();
    u.arriving = ReceivedMessage(message_into(stage, batch), action.peer, program_.device(),
                                 *groups_.pipeline, pieces(batch));
    u.has_message = true;
  }

  // Computation begins when the message is there; its receive ends then.
  std::vector<Tensor> take(Unit& u) {
    std::vector<Tensor> tensors = u.arriving.take();
    u.has_message = false;
    if (options_.record) {
      arrived_ = monotonic_seconds();
      result_.spans[u.message_span].end = since_start(arrived_);
    }
    return tensors;
  }

  void take_forward(Unit& u, int stage, const Batch& batch) {
    std::vector<Tensor> tensors = take(u);
    u.in = std::move(tensors[0]);
    size_t next = 1;
    for (const TensorSpec& spec : program_.side_into(stage, batch)) {
      u.side.inputs[spec.name].value = std::move(tensors[next++]);
    }
  }

  void take_backward(Unit& u, int stage, const Batch& batch) {
    std::vector<Tensor> tensors = take(u);
    u.in = std::move(tensors[0]);
    size_t next = 1;
    for (const TensorSpec& spec : program_.side_into(stage + 1, batch)) {
      u.side.add_grad(spec.name, tensors[next++]);
    }
  }

  void drop_sent() {
    sent_.front().wait();
    sent_.pop_front();
  }

  void count(Unit& u) {
    const int64_t now = u.stash.bytes() + u.grads.deferred_bytes();
    held_ += now - u.held;
    u.held = now;
    hosted_ += u.stash.host_bytes() - u.hosted;
    u.hosted = u.stash.host_bytes();
    result_.stash_bytes = std::max(result_.stash_bytes, held_);
    result_.host_bytes = std::max(result_.host_bytes, hosted_);
    if (held_ + hosted_ <= most_) return;
    most_ = held_ + hosted_;
    at_peak_ = true;
  }

  // Before anything is let go: a forward pass that follows a peak only makes a higher one.
  void list_peak() {
    if (!at_peak_) return;
    at_peak_ = false;
    result_.stash_by_label.clear();
    result_.items.clear();
    for (size_t i = 0; i < units_.size(); ++i) {
      const Unit& u = units_[i];
      const auto micro_batches = static_cast<size_t>(schedule_.micro_batches);
      const auto add = [&](StashItem item) {
        result_.stash_by_label[item.label] += item.bytes;
        if (!options_.stash.items) return;
        result_.items.push_back({.micro_batch = static_cast<int>(i % micro_batches),
                                 .chunk = static_cast<int>(i / micro_batches),
                                 .item = std::move(item)});
      };
      for (StashItem& item : u.stash.items()) add(std::move(item));
      const int64_t deferred = u.grads.deferred_bytes();
      if (deferred > 0) add({.label = "deferred weight gradients", .bytes = deferred});
    }
  }

  int64_t since_start(double time) const { return std::llround((time - result_.started) * 1e9); }
  void record(const Action& action, double begin, double end) {
    result_.spans.push_back({.action = action, .begin = since_start(begin), .end = since_start(end)});
  }

  StageProgram& program_;
  const Schedule& schedule_;
  ExecutorGroups groups_;
  const std::vector<Batch>& batches_;
  const ExecutorOptions& options_;
  int rank_ = 0;
  std::vector<Holder> holders_;
  std::vector<Unit> units_;
  std::deque<SentMessage> sent_;
  int pairs_ = 0;
  int64_t whole_pairs_ = 0;
  int64_t held_ = 0;      // bytes on the device
  int64_t hosted_ = 0;    // offloaded
  int64_t most_ = 0;      // of both together
  bool at_peak_ = false;  // nothing was let go since, and it is not listed yet
  double arrived_ = 0;    // when the action at hand could begin
  ExecutorResult result_;
};

}  // namespace

ExecutorResult run_schedule(StageProgram& program, const Schedule& schedule, const ExecutorGroups& groups,
                            const std::vector<Batch>& batches, const ExecutorOptions& options) {
  return ScheduleRun(program, schedule, groups, batches, options).run();
}

}  // namespace phalanx
