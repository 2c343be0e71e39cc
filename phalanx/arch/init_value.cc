#include "phalanx/arch/init_value.h"

#include <algorithm>
#include <cmath>

#include "phalanx/base/error.h"

namespace phalanx {

double init_value(const LogicalTensor& tensor, int64_t element, double uniform) {
  const double low = tensor.init_low;
  const double high = tensor.init_high;
  switch (tensor.init) {
    case InitKind::kZero:
      return 0.0;
    case InitKind::kOne:
      return 1.0;
    case InitKind::kNormal:
      break;
    case InitKind::kUniform:
      return low + uniform * (high - low);
    case InitKind::kLogUniform:
      return std::log(low + uniform * (high - low));
    case InitKind::kInverseSoftplus: {
      const double delta = std::exp(std::log(low) + uniform * (std::log(high) - std::log(low)));
      const double raised = std::max(delta, tensor.init_floor);
      return raised + std::log(-std::expm1(-raised));
    }
    case InitKind::kLogCount:
      return std::log(static_cast<double>(element % tensor.shape.back() + 1));
  }
  PHALANX_CHECK(false, "normal numbers are not made one by one: " + tensor.name);
}

}  // namespace phalanx
