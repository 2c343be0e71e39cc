#include "phalanx/config/config_json.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

namespace phalanx {
namespace {

[[noreturn]] void throw_kind(const std::string& where, const std::string& got, const std::string& needed) {
  throw Error(ErrorKind::kBadInput, {.where = where,
                                     .got = got,
                                     .needed = needed,
                                     .fix = "the file may be damaged or written by another program"});
}

ConfigScalar read_scalar(const Json& json, const std::string& where, const std::string& needed) {
  if (json.is_null()) return {};
  if (json.is_boolean()) return json.get<bool>();
  if (json.is_number_unsigned() && json.get<uint64_t>() > std::numeric_limits<int64_t>::max()) {
    throw_kind(where, json.dump(), needed + " within 64 bits");
  }
  if (json.is_number_integer()) return json.get<int64_t>();
  if (json.is_number_float() && std::isfinite(json.get<double>())) return json.get<double>();
  if (json.is_string()) return json.get<std::string>();
  throw_kind(where, std::string("JSON of type ") + json.type_name(), needed);
}

Json write_scalar(const ConfigScalar& scalar) {
  return std::visit(
      []<typename T>(const T& value) {
        if constexpr (std::is_same_v<T, std::monostate>) {
          return Json(nullptr);
        } else {
          return Json(value);
        }
      },
      scalar);
}

}  // namespace

void apply_json(ConfigTree& tree, const Json& json, const std::string& where, Origin origin) {
  if (!json.is_object())
    throw_kind(where, std::string("JSON of type ") + json.type_name(), "an object of sections");
  for (const auto& [section, fields] : json.items()) {
    const std::string at_section = fmt::format("{}: {}", where, section);
    tree.require_section(section, {.where = at_section});
    if (!fields.is_object())
      throw_kind(at_section, std::string("JSON of type ") + fields.type_name(), "an object");
    for (const auto& [name, node] : fields.items()) {
      const ValueSource source{.where = fmt::format("{}.{}", at_section, name)};
      const std::string needed = tree.require(section, name, source).ref.type_name();
      ConfigValue value{.is_list = node.is_array()};
      if (node.is_array()) {
        for (const Json& item : node) value.items.push_back(read_scalar(item, source.where, needed));
      } else {
        value.items.push_back(read_scalar(node, source.where, needed));
      }
      tree.set_value(section, name, value, origin, source);
    }
  }
}

Json to_json(const ConfigTree& tree, ConfigScope scope) {
  Json root = Json::object();
  for (const ConfigSection& section : tree.sections()) {
    Json fields = Json::object();
    for (const ConfigField& field : section.fields) {
      if (scope == ConfigScope::kChanged && field.ref.is_default()) continue;
      if (scope == ConfigScope::kGiven && field.origin == Origin::kDefault) continue;
      const ConfigValue value = field.ref.value();
      Json list = Json::array();
      for (const ConfigScalar& item : value.items) list.push_back(write_scalar(item));
      fields[field.ref.name()] = value.is_list ? list : list.at(0);
    }
    if (scope == ConfigScope::kAll || !fields.empty()) root[section.name] = fields;
  }
  return root;
}

}  // namespace phalanx
