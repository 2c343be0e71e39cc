#include "phalanx/config/config_toml.h"

#include <fmt/format.h>

#include <cmath>

#include "phalanx/base/fs.h"
#include "phalanx/config/toml_scan.h"

// toml++ asserts what its next line reports as a syntax error ("[=a]", "[1, }2]"): the error is what we want. No other
// file may include toml++, or the linker could pick the asserting copy.
#define TOML_ASSERT(condition) static_assert(true)
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

namespace phalanx {
namespace {

std::string place_of(const std::string& path, const toml::source_region& region) {
  return fmt::format("{}:{}:{}", path, region.begin.line, region.begin.column);
}

// nullopt: a kind of node that no field takes.
std::optional<ConfigScalar> read_scalar(const toml::node& node) {
  if (const auto* b = node.as_boolean()) return ConfigScalar(b->get());
  if (const auto* i = node.as_integer()) return ConfigScalar(i->get());
  if (const auto* s = node.as_string()) return ConfigScalar(s->get());
  // toml++ reads inf and nan; no setting means anything with them.
  if (const auto* d = node.as_floating_point(); d != nullptr && std::isfinite(d->get()))
    return ConfigScalar(d->get());
  return std::nullopt;
}

std::string_view describe_node(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return "a list in a list";
    case toml::node_type::floating_point:
      return "a number that is not finite";
    case toml::node_type::date:
    case toml::node_type::time:
    case toml::node_type::date_time:
      return "a date or time";
    default:
      return "a value of another kind";
  }
}

ConfigValue read_node(const toml::node& node, const FieldRef& field, const ValueSource& source) {
  ConfigValue value{.is_list = node.is_array()};
  const auto add = [&](const toml::node& item) {
    const std::optional<ConfigScalar> scalar = read_scalar(item);
    if (!scalar) {
      throw Error(source.kind, {.where = source.where,
                                .got = std::string(describe_node(item)),
                                .needed = field.type_name(),
                                .fix = field.name() + " is: " + field.help()});
    }
    value.items.push_back(*scalar);
  };
  if (const toml::array* list = node.as_array()) {
    for (const toml::node& item : *list) add(item);
  } else {
    add(node);
  }
  return value;
}

void apply_section(ConfigTree& tree, const std::string& section, const toml::table& table,
                   const std::string& path, Origin origin) {
  for (const auto& [key, node] : table) {
    const std::string name(key.str());
    const std::string label = fmt::format(" {}.{}", section, name);
    const ConfigField& field = tree.require(section, name, {.where = place_of(path, key.source()) + label});
    const ValueSource source{.where = place_of(path, node.source()) + label};
    tree.set_value(section, name, read_node(node, field.ref, source), origin, source);
  }
}

std::string quote(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\u{:04X}", byte);
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string write_scalar(const ConfigScalar& scalar) {
  const bool bare = std::holds_alternative<bool>(scalar) || std::holds_alternative<int64_t>(scalar) ||
                    std::holds_alternative<double>(scalar);
  const std::string text = format_scalar(scalar);
  return bare ? text : quote(text);
}

std::string write_value(const ConfigValue& value) {
  if (!value.is_list) return write_scalar(value.items.at(0));
  std::string out = "[";
  for (size_t i = 0; i < value.items.size(); ++i) {
    if (i > 0) out += ", ";
    out += write_scalar(value.items[i]);
  }
  return out + "]";
}

}  // namespace

void apply_toml(ConfigTree& tree, std::string_view text, const std::string& path, Origin origin) {
  refuse_stray_characters(text, path);
  toml::table root;
  try {
    root = toml::parse(text, path);
  } catch (const toml::parse_error& e) {
    throw Error(ErrorKind::kBadInput, {.where = place_of(path, e.source()),
                                       .got = std::string(e.description()),
                                       .needed = "valid TOML",
                                       .fix = "correct the file at that line and column"});
  }
  for (const auto& [key, node] : root) {
    const std::string name(key.str());
    const ValueSource source{.where = place_of(path, key.source()) + " " + name};
    tree.require_section(name, source);
    if (!node.is_table()) {
      throw Error(source.kind, {.where = source.where,
                                .got = "a value",
                                .needed = "the table [" + name + "]",
                                .fix = "write [" + name + "] on a line of its own and the keys below it"});
    }
    apply_section(tree, name, *node.as_table(), path, origin);
  }
}

void apply_toml_file(ConfigTree& tree, const std::string& path, Origin origin) {
  apply_toml(tree, read_file(path), path, origin);
}

std::string to_toml(const ConfigTree& tree, ConfigScope scope, const std::set<std::string>& without) {
  std::string out;
  for (const ConfigSection& section : tree.sections()) {
    std::string lines;
    for (const ConfigField& field : section.fields) {
      if (scope == ConfigScope::kChanged && field.ref.is_default()) continue;
      if (scope == ConfigScope::kGiven && field.origin == Origin::kDefault) continue;
      if (without.count(section.name + "." + field.ref.name()) != 0) continue;
      lines += fmt::format("{} = {}\n", field.ref.name(), write_value(field.ref.value()));
    }
    if (lines.empty()) continue;
    if (!out.empty()) out += '\n';
    out += "[" + section.name + "]\n" + lines;
  }
  return out;
}

}  // namespace phalanx
