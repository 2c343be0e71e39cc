#include "phalanx/tensor/parameter.h"

#include <utility>

namespace phalanx {

void Parameter::wait_for_data() const {
  // A wait that throws must not be tried again.
  const std::shared_ptr<PendingData> arriving = std::exchange(pending, nullptr);
  if (arriving) arriving->wait();
}

Tensor view_of(const Tensor& tensor, const Box& box) {
  Tensor view = tensor;
  for (size_t d = 0; d < box.begin.size(); ++d) {
    view = view.narrow(static_cast<int64_t>(d), box.begin[d], box.end[d] - box.begin[d]);
  }
  return view;
}

}  // namespace phalanx
