#include "apps/phalanx/preset_flag.h"

#include <optional>

#include "phalanx/arch/presets.h"
#include "phalanx/base/error.h"

namespace phalanx::apps {

void apply_preset(ConfigTree& tree, const std::string& name) {
  const std::optional<ModelConfig> preset = find_preset(name);
  if (!preset) {
    const std::string near = nearest_name(name, preset_names());
    throw Error(ErrorKind::kUsage,
                {.where = "--preset",
                 .got = "'" + name + "'",
                 .needed = "the name of a known model",
                 .fix = near.empty() ? "phalanx train --list-presets" : "did you mean " + near + "?"});
  }
  ModelConfig values = *preset;
  ConfigTree source;
  source.add_section("model", values);
  for (const ConfigField& field : source.sections()[0].fields) {
    if (field.ref.is_default()) continue;
    const std::string key = "model." + field.ref.name();
    tree.set_text(key, field.ref.text(), Origin::kRecipe, {"--preset " + name, ErrorKind::kUsage});
  }
}

}  // namespace phalanx::apps
