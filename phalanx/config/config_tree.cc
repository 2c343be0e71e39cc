#include "phalanx/config/config_tree.h"

#include <fmt/format.h>

#include <algorithm>

namespace phalanx {
namespace {

std::vector<std::string> section_names(const ConfigTree& tree) {
  std::vector<std::string> names;
  for (const ConfigSection& section : tree.sections()) names.push_back(section.name);
  return names;
}

// Sets through `set`, then puts the old value back when something of higher origin had set it before.
template <typename Set>
void set_by_precedence(ConfigField& field, Origin origin, const Set& set) {
  const ConfigValue before = field.ref.value();
  set(field.ref);
  if (origin >= field.origin) {
    field.origin = origin;
  } else {
    field.ref.set_value(before, {.where = field.ref.name()});
  }
}

}  // namespace

std::string_view origin_name(Origin origin) {
  switch (origin) {
    case Origin::kDefault:
      return "default";
    case Origin::kMegatron:
      return "megatron";
    case Origin::kRecipe:
      return "recipe";
    case Origin::kFile:
      return "file";
    case Origin::kFlag:
      return "flag";
  }
  PHALANX_CHECK(false, "no such origin");
  return "";
}

void ConfigTree::add_fields(const std::string& name, std::vector<FieldRef> fields) {
  const std::vector<std::string> known = section_names(*this);
  PHALANX_CHECK(std::count(known.begin(), known.end(), name) == 0, "section '" + name + "' is added once");
  ConfigSection section{.name = name};
  for (FieldRef& field : fields) {
    for (const ConfigField& other : section.fields) {
      PHALANX_CHECK(other.ref.name() != field.name(), name + "." + field.name() + " is one field");
    }
    section.fields.push_back({.ref = std::move(field)});
  }
  sections_.push_back(std::move(section));
}

const ConfigField* ConfigTree::find(std::string_view key) const {
  const size_t dot = key.find('.');
  if (dot == std::string_view::npos) return nullptr;
  for (const ConfigSection& section : sections_) {
    if (section.name != key.substr(0, dot)) continue;
    for (const ConfigField& field : section.fields) {
      if (field.ref.name() == key.substr(dot + 1)) return &field;
    }
  }
  return nullptr;
}

const ConfigField& ConfigTree::at(std::string_view key) const {
  const ConfigField* field = find(key);
  PHALANX_CHECK(field != nullptr, "no config key " + std::string(key));
  return *field;
}

std::vector<std::string> ConfigTree::keys() const {
  std::vector<std::string> keys;
  for (const ConfigSection& section : sections_) {
    for (const ConfigField& field : section.fields) keys.push_back(section.name + "." + field.ref.name());
  }
  return keys;
}

const ConfigSection& ConfigTree::require_section(const std::string& name, const ValueSource& source) const {
  for (const ConfigSection& section : sections_) {
    if (section.name == name) return section;
  }
  const std::vector<std::string> known = section_names(*this);
  const std::string near = nearest_name(name, known);
  throw Error(source.kind, {.where = source.where,
                            .got = "unknown section '" + name + "'",
                            .needed = fmt::format("one of: {}", fmt::join(known, ", ")),
                            .fix = near.empty() ? "" : "did you mean '" + near + "'?"});
}

const ConfigField& ConfigTree::require(const std::string& section, const std::string& field,
                                       const ValueSource& source) const {
  require_section(section, source);
  if (const ConfigField* found = find(section + "." + field)) return *found;
  throw Error(source.kind, {.where = source.where,
                            .got = "unknown key '" + field + "'",
                            .needed = "a key of section '" + section + "'",
                            .fix = suggest_field(*this, section, field)});
}

ConfigField& ConfigTree::require_key(const std::string& key, const ValueSource& source) {
  const size_t dot = key.find('.');
  const std::string field = dot == std::string::npos ? "" : key.substr(dot + 1);
  return const_cast<ConfigField&>(require(key.substr(0, dot), field, source));
}

void ConfigTree::set_text(const std::string& key, const std::string& text, Origin origin,
                          const ValueSource& source) {
  set_by_precedence(require_key(key, source), origin, [&](FieldRef& field) { field.set_text(text, source); });
}

void ConfigTree::set_items(const std::string& key, const std::vector<std::string>& items, Origin origin,
                           const ValueSource& source) {
  set_by_precedence(require_key(key, source), origin,
                    [&](FieldRef& field) { field.set_items(items, source); });
}

void ConfigTree::set_value(const std::string& section, const std::string& field, const ConfigValue& value,
                           Origin origin, const ValueSource& source) {
  set_by_precedence(require_key(section + "." + field, source), origin,
                    [&](FieldRef& target) { target.set_value(value, source); });
}

std::string suggest_field(const ConfigTree& tree, const std::string& section, const std::string& field) {
  std::vector<std::string> here;
  for (const ConfigSection& candidate : tree.sections()) {
    for (const ConfigField& known : candidate.fields) {
      if (candidate.name == section) here.push_back(known.ref.name());
      // The right name in the wrong section is a likelier mistake than a typo.
      if (known.ref.name() == field) return fmt::format("did you mean '{}.{}'?", candidate.name, field);
    }
  }
  const std::string near = nearest_name(field, here);
  if (!near.empty()) return fmt::format("did you mean '{}.{}'?", section, near);
  return "--help lists the keys";
}

}  // namespace phalanx
