#include "phalanx/comm/local.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <mutex>
#include <numeric>
#include <thread>

#include "phalanx/base/error.h"
#include "phalanx/base/threads.h"
#include "phalanx/comm/local_hub.h"

namespace phalanx::comm {
namespace {

class LocalWork : public Work {
 public:
  LocalWork(Tensor written, Tensor read, Pending pending)
      : written_(std::move(written)), read_(std::move(read)), pending_(std::move(pending)) {}
  void wait() override {
    pending_.wait();
    written_.reset();
    read_.reset();
  }
  bool done() override { return pending_.done(); }

 private:
  Tensor written_, read_;
  Pending pending_;  // last: it lets go of the memory before the tensors free it
};

class LocalGroup : public Group {
 public:
  LocalGroup(std::shared_ptr<HubWorld> world, LocalHub& hub, int rank)
      : world_(std::move(world)), hub_(hub), rank_(rank) {}
  int rank() const override { return rank_; }
  int size() const override { return hub_.size(); }
  const std::string& name() const override { return hub_.name(); }
  const std::vector<int>& ranks() const override { return hub_.world_ranks(); }

  WorkPtr start_all_reduce(Tensor tensor, ReduceOp op) override {
    Call call = describe_call(OpKind::kAllReduce, tensor);
    call.what.reduce = op;
    call.part = {.in = bytes(tensor), .out = bytes(tensor)};
    return start(std::move(tensor), {}, std::move(call));
  }

  WorkPtr start_all_gather(Tensor out, Tensor in) override {
    Call call = describe_call(OpKind::kAllGather, in);
    check_parts(out, in);
    call.part = {.in = bytes(in), .out = bytes(out)};
    return start(std::move(out), std::move(in), std::move(call));
  }

  WorkPtr start_reduce_scatter(Tensor out, Tensor in) override {
    Call call = describe_call(OpKind::kReduceScatter, out);
    check_parts(in, out);
    call.part = {.in = bytes(in), .out = bytes(out)};
    return start(std::move(out), std::move(in), std::move(call));
  }

  WorkPtr start_all_to_all(Tensor out, Tensor in, std::vector<int64_t> out_rows,
                           std::vector<int64_t> in_rows) override {
    Call call = describe_call(OpKind::kAllToAll, in);
    PHALANX_CHECK(in.dim() > 0 && out.dim() == in.dim() && out.sizes().slice(1) == in.sizes().slice(1),
                  "rows of one shape in " + name());
    PHALANX_CHECK(out.is_contiguous() && out.scalar_type() == in.scalar_type(), "tensors alike in " + name());
    PHALANX_CHECK(apart(out, in), "all_to_all in place in " + name());
    call.what.shape.set_any_rows();
    call.part = {.in = bytes(in),
                 .out = bytes(out),
                 .out_counts = element_counts(out, std::move(out_rows)),
                 .in_counts = element_counts(in, std::move(in_rows))};
    return start(std::move(out), std::move(in), std::move(call));
  }

  WorkPtr start_broadcast(Tensor tensor, int root) override {
    Call call = describe_call(OpKind::kBroadcast, tensor);
    call.what.peer = checked_peer(root);
    call.part = {.in = bytes(tensor), .out = bytes(tensor)};
    return start(std::move(tensor), {}, std::move(call));
  }

  WorkPtr start_send(Tensor tensor, int peer) override {
    Call call = describe_call(OpKind::kSend, tensor);
    call.what.peer = other(peer);
    call.part = {.in = bytes(tensor)};
    return start({}, std::move(tensor), std::move(call));
  }

  WorkPtr start_recv(Tensor tensor, int peer) override {
    Call call = describe_call(OpKind::kRecv, tensor);
    call.what.peer = other(peer);
    call.part = {.out = bytes(tensor)};
    return start(std::move(tensor), {}, std::move(call));
  }

  void barrier() override { hub_.start(rank_, {}).wait(); }

 private:
  static std::byte* bytes(const Tensor& tensor) { return static_cast<std::byte*>(tensor.data_ptr()); }

  Dtype dtype_of(OpKind kind, const Tensor& tensor) const {
    switch (tensor.scalar_type()) {
      case at::kDouble:
        return Dtype::kF64;
      case at::kFloat:
        return Dtype::kF32;
      case at::kBFloat16:
        return Dtype::kBF16;
      case at::kHalf:
        return Dtype::kF16;
      case at::kLong:
        return Dtype::kI64;
      case at::kInt:
        return Dtype::kI32;
      case at::kByte:
        return Dtype::kU8;
      default:
        break;
    }
    throw Error(ErrorKind::kBadInput,
                {.where = fmt::format("{} of group '{}'", op_name(kind), name()),
                 .got = std::string("a tensor of ") + c10::toString(tensor.scalar_type()),
                 .needed = "f64, f32, bf16, f16, i64, i32 or u8",
                 .fix = "convert it first"});
  }

  Call describe_call(OpKind kind, const Tensor& tensor) const {
    PHALANX_CHECK(tensor.defined() && tensor.is_contiguous(), "a contiguous tensor in " + name());
    if (!tensor.device().is_cpu()) {
      throw Error(ErrorKind::kBadInput, {.where = fmt::format("{} of group '{}'", op_name(kind), name()),
                                         .got = "a tensor on " + tensor.device().str(),
                                         .needed = "a tensor in main memory: these ranks are threads",
                                         .fix = "--device cpu"});
    }
    const at::IntArrayRef sizes = tensor.sizes();
    return {.what = {.kind = kind,
                     .dtype = dtype_of(kind, tensor),
                     .shape = Shape(std::span(sizes.data(), sizes.size()))},
            .count = tensor.numel()};
  }

  // `whole` has the rows of one `part` for every rank; they are apart, or part is this rank's rows of whole.
  void check_parts(const Tensor& whole, const Tensor& part) const {
    PHALANX_CHECK(part.dim() > 0 && whole.dim() == part.dim() && whole.size(0) == size() * part.size(0) &&
                      whole.sizes().slice(1) == part.sizes().slice(1),
                  "size times the rows in " + name());
    PHALANX_CHECK(whole.is_contiguous() && part.is_contiguous() && whole.device() == part.device() &&
                      whole.scalar_type() == part.scalar_type(),
                  "tensors alike in " + name());
    const std::byte* own = bytes(whole) + static_cast<int64_t>(part.nbytes()) * rank_;
    PHALANX_CHECK(bytes(part) == own || apart(whole, part), "tensors that overlap by mistake in " + name());
  }

  static bool apart(const Tensor& a, const Tensor& b) {
    return bytes(a) + a.nbytes() <= bytes(b) || bytes(b) + b.nbytes() <= bytes(a);
  }

  std::vector<int64_t> element_counts(const Tensor& tensor, std::vector<int64_t> rows) const {
    if (rows.empty()) {
      PHALANX_CHECK(tensor.size(0) % size() == 0, "rows that can be shared out in " + name());
      rows.assign(static_cast<size_t>(size()), tensor.size(0) / size());
    }
    PHALANX_CHECK(static_cast<int>(rows.size()) == size() &&
                      std::accumulate(rows.begin(), rows.end(), int64_t{0}) == tensor.size(0),
                  "the rows of every rank in " + name());
    const int64_t row = tensor.size(0) == 0 ? 0 : tensor.numel() / tensor.size(0);
    for (int64_t& count : rows) count *= row;
    return rows;
  }

  int checked_peer(int peer) const {
    PHALANX_CHECK(peer >= 0 && peer < size(), "a rank of " + name());
    return peer;
  }
  int other(int peer) const {
    PHALANX_CHECK(peer != rank_, "a message to another rank in " + name());
    return checked_peer(peer);
  }

  WorkPtr start(Tensor written, Tensor read, Call call) {
    return std::make_shared<LocalWork>(std::move(written), std::move(read),
                                       hub_.start(rank_, std::move(call)));
  }

  std::shared_ptr<HubWorld> world_;  // keeps the hub
  LocalHub& hub_;
  int rank_;
};

// What the ranks of one run ended with.
class FirstError {
 public:
  // Inside a catch block; returns the text.
  std::string keep() {
    bool consequence = false;
    std::string text = "an exception of an unknown type";
    try {
      throw;
    } catch (const PeerFailed& error) {
      consequence = true;
      text = error.what();
    } catch (const std::exception& error) {
      text = error.what();
    } catch (...) {
    }
    const std::lock_guard lock(mutex_);
    if (!error_ || (is_consequence_ && !consequence)) {
      error_ = std::current_exception();
      is_consequence_ = consequence;
    }
    return text;
  }
  void rethrow(HubWorld& world) const {
    if (!error_) return;
    const std::optional<ErrorParts> meeting = world.failed_meeting();
    if (is_consequence_ && meeting) throw Error(ErrorKind::kPeer, *meeting);
    std::rethrow_exception(error_);
  }

 private:
  std::mutex mutex_;
  std::exception_ptr error_;
  bool is_consequence_ = false;
};

}  // namespace

LocalWorld::LocalWorld(int size, LocalOptions options) : size_(size), options_(std::move(options)) {
  PHALANX_CHECK(size > 0, "a world of at least one rank");
  if (options_.threads_per_rank <= 0) options_.threads_per_rank = std::max(1, thread_count(0) / size);
  hubs_ = std::make_shared<HubWorld>(size, HubOptions{.deadline = options_.deadline,
                                                      .progress_threads = options_.progress_threads,
                                                      .flight_folder = options_.flight_folder});
}

std::unique_ptr<Group> LocalWorld::group(int rank, const std::string& name, std::vector<int> ranks) {
  const auto place = std::ranges::find(ranks, rank);
  PHALANX_CHECK(
      place != ranks.end() && std::ranges::is_sorted(ranks) && ranks.front() >= 0 && ranks.back() < size_,
      "ascending ranks with the own one in " + name);
  if (ranks.size() == 1) return make_self_group(name, rank);
  return std::make_unique<LocalGroup>(hubs_, hubs_->hub(name, ranks),
                                      static_cast<int>(place - ranks.begin()));
}

void run_ranks(LocalWorld& world, const std::function<void(int rank)>& body) {
  FirstError first;
  world.hubs_->enter();
  {
    std::vector<std::jthread> threads;
    for (int rank = 0; rank < world.size(); ++rank) {
      threads.emplace_back([&, rank] {
        try {
          // Before anything of LibTorch: the number is the calling thread's.
          at::set_num_threads(world.options().threads_per_rank);
          const at::NoGradGuard no_grad;
          body(rank);
          world.hubs_->leave(rank);
        } catch (...) {
          world.hubs_->poison(fmt::format("rank {} failed: {}", rank, first.keep()));
        }
      });
    }
  }
  first.rethrow(*world.hubs_);
}

}  // namespace phalanx::comm
