// File: phalanx/engine/stage_messages.h
//
// Purpose: boundary tensors on their way between pipeline ranks: the tensors of one message, sent or received together.
// Contract: tensors go one after another in the order given; both ends know their shapes. A piece is 1/t of dim 0, where
//   that divides. A sent message owns its tensors until it has arrived.
#pragma once

#include <vector>

#include "phalanx/comm/group.h"
#include "phalanx/nn/stage_program.h"

namespace phalanx {

class SentMessage {
 public:
  // `tensor_group` not nullptr: this rank sends its piece of each tensor.
  SentMessage(const std::vector<Tensor>& tensors, int peer, comm::Group& pipeline, comm::Group* tensor_group);
  bool done();
  void wait();

 private:
  std::vector<comm::WorkPtr> works_;
};

class ReceivedMessage {
 public:
  ReceivedMessage() = default;
  ReceivedMessage(const std::vector<TensorSpec>& specs, int peer, at::Device device, comm::Group& pipeline,
                  comm::Group* tensor_group);
  // The whole tensors; gathers pieces. Once.
  std::vector<Tensor> take();

 private:
  struct Part {
    Tensor whole;
    Tensor received;  // `whole` or a piece of it
    comm::WorkPtr work;
  };
  std::vector<Part> parts_;
  comm::Group* tensor_group_ = nullptr;
};

}  // namespace phalanx
