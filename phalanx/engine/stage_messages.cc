#include "phalanx/engine/stage_messages.h"

#include <ATen/ATen.h>

namespace phalanx {
namespace {

bool goes_in_pieces(int64_t rows, const comm::Group* tensor_group) {
  return tensor_group != nullptr && tensor_group->size() > 1 && rows % tensor_group->size() == 0;
}

Tensor piece_of(const Tensor& whole, const comm::Group& tensor_group) {
  const int64_t rows = whole.size(0) / tensor_group.size();
  return whole.narrow(0, tensor_group.rank() * rows, rows);
}

}  // namespace

SentMessage::SentMessage(const std::vector<Tensor>& tensors, int peer, comm::Group& pipeline,
                         comm::Group* tensor_group) {
  for (const Tensor& tensor : tensors) {
    const Tensor dense = tensor.contiguous();
    works_.push_back(pipeline.start_send(
        goes_in_pieces(dense.size(0), tensor_group) ? piece_of(dense, *tensor_group) : dense, peer));
  }
}

bool SentMessage::done() {
  for (const comm::WorkPtr& work : works_) {
    if (!work->done()) return false;
  }
  return true;
}

void SentMessage::wait() {
  for (const comm::WorkPtr& work : works_) work->wait();
}

ReceivedMessage::ReceivedMessage(const std::vector<TensorSpec>& specs, int peer, at::Device device,
                                 comm::Group& pipeline, comm::Group* tensor_group)
    : tensor_group_(tensor_group) {
  for (const TensorSpec& spec : specs) {
    Part part;
    part.whole = at::empty(spec.shape, at::TensorOptions(spec.dtype).device(device));
    part.received =
        goes_in_pieces(spec.shape[0], tensor_group) ? piece_of(part.whole, *tensor_group) : part.whole;
    part.work = pipeline.start_recv(part.received, peer);
    parts_.push_back(std::move(part));
  }
}

std::vector<Tensor> ReceivedMessage::take() {
  std::vector<Tensor> tensors;
  for (Part& part : parts_) {
    part.work->wait();
    if (part.received.numel() != part.whole.numel()) tensor_group_->all_gather(part.whole, part.received);
    tensors.push_back(std::move(part.whole));
  }
  parts_.clear();
  return tensors;
}

}  // namespace phalanx
