#include "apps/phalanx/bench_verbs.h"

#include <optional>

#include "apps/phalanx/run_flags.h"
#include "phalanx/base/error.h"

namespace phalanx::apps {

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : 0.5 * (values[n / 2 - 1] + values[n / 2]);
}

ModelConfig bench_model(const std::string& name) {
  if (const std::optional<ModelConfig> model = find_model(name)) return *model;
  throw Error(ErrorKind::kUsage, {.where = "--config",
                                  .got = "'" + name + "'",
                                  .needed = "a preset, a config file (.toml) or a run folder",
                                  .fix = "phalanx train --list-presets"});
}

}  // namespace phalanx::apps
