#include "apps/phalanx/bench_verbs.h"

#include <optional>

#include "phalanx/arch/presets.h"
#include "phalanx/base/error.h"

namespace phalanx::apps {

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : 0.5 * (values[n / 2 - 1] + values[n / 2]);
}

ModelConfig bench_preset(const std::string& name) {
  const std::optional<ModelConfig> preset = find_preset(name);
  if (preset) return *preset;
  throw Error(ErrorKind::kUsage, {.where = "--config",
                                  .got = "'" + name + "'",
                                  .needed = "a preset",
                                  .fix = "phalanx train --list-presets"});
}

}  // namespace phalanx::apps
