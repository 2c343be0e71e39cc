#include "phalanx/config/config_print.h"

#include <fmt/format.h>

#include <algorithm>

namespace phalanx {
namespace {

constexpr size_t kWidestValue = 40;  // a longer value pushes its own line only

std::string shown(const std::string& text) {
  return text.empty() ? "-" : text;
}

}  // namespace

std::string config_table(const ConfigTree& tree, ConfigScope scope) {
  size_t key_width = 0;
  size_t value_width = 0;
  for (const ConfigSection& section : tree.sections()) {
    for (const ConfigField& field : section.fields) {
      key_width = std::max(key_width, field.ref.name().size());
      value_width = std::max(value_width, std::min(shown(field.ref.text()).size(), kWidestValue));
    }
  }
  std::string out;
  for (const ConfigSection& section : tree.sections()) {
    std::string lines;
    for (const ConfigField& field : section.fields) {
      if (scope == ConfigScope::kChanged && field.ref.is_default() && field.origin == Origin::kDefault)
        continue;
      lines += fmt::format("  {:<{}}  {:<{}}  {}\n", field.ref.name(), key_width, shown(field.ref.text()),
                           value_width, origin_name(field.origin));
    }
    if (!lines.empty()) out += "[" + section.name + "]\n" + lines;
  }
  return out;
}

std::string config_help(const ConfigTree& tree) {
  std::string out;
  for (const ConfigSection& section : tree.sections()) {
    if (!out.empty()) out += '\n';
    out += "[" + section.name + "]\n";
    for (const ConfigField& field : section.fields) {
      const FieldRef& ref = field.ref;
      const std::string flag = fmt::format("--{}.{}", section.name, ref.name());
      out += fmt::format("  {:<40} {} (default: {})\n", flag, ref.help(), shown(ref.default_text()));
      out += fmt::format("  {:<40}   {}\n", "", ref.type_name());
    }
  }
  return out;
}

}  // namespace phalanx
