// File: phalanx/config/config_tree.h
//
// Purpose: a run's config as named sections of fields, and for each field where its value came from. TOML, JSON,
//   flags, help and the start-up table work on this alone and know no section by name.
// Contract: the tree is a view; the section structs must outlive it and not move. A value of lower origin never
//   replaces one of higher origin (default < Megatron's default < recipe < file < flag), in whatever order they come,
//   but it is checked all the same; among equals the later one wins. Keys are "section.field".
// Example:
//   ConfigTree tree;
//   tree.add_section("model", run.model);
//   apply_toml_file(tree, "run.toml", Origin::kFile);   // config_toml.h
//   apply_flags(tree, flags, true);                     // flags.h
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "phalanx/config/field_ref.h"

namespace phalanx {

enum class Origin { kDefault, kMegatron, kRecipe, kFile, kFlag };
std::string_view origin_name(Origin origin);

// All fields; those that differ from their struct's default; those that somebody gave a value.
enum class ConfigScope { kAll, kChanged, kGiven };

struct ConfigField {
  FieldRef ref;
  Origin origin = Origin::kDefault;
};

struct ConfigSection {
  std::string name;
  std::vector<ConfigField> fields;
};

class ConfigTree {
 public:
  template <typename Section>
  void add_section(const std::string& name, Section& section) {
    add_fields(name, collect_fields(section));
  }
  void add_fields(const std::string& name, std::vector<FieldRef> fields);

  const std::vector<ConfigSection>& sections() const { return sections_; }
  const ConfigField* find(std::string_view key) const;  // nullptr when there is none
  const ConfigField& at(std::string_view key) const;    // the key must exist
  std::string text(std::string_view key) const { return at(key).ref.text(); }
  std::vector<std::string> keys() const;

  // Errors as FieldRef's and, for an unknown key, as require's.
  void set_text(const std::string& key, const std::string& text, Origin origin, const ValueSource& source);
  void set_items(const std::string& key, const std::vector<std::string>& items, Origin origin,
                 const ValueSource& source);
  void set_value(const std::string& section, const std::string& field, const ConfigValue& value,
                 Origin origin, const ValueSource& source);

  // The section or field, or Error(source.kind) with the nearest known name.
  const ConfigSection& require_section(const std::string& name, const ValueSource& source) const;
  const ConfigField& require(const std::string& section, const std::string& field,
                             const ValueSource& source) const;

 private:
  ConfigField& require_key(const std::string& key, const ValueSource& source);

  std::vector<ConfigSection> sections_;
};

// The fix of the error for an unknown field.
std::string suggest_field(const ConfigTree& tree, const std::string& section, const std::string& field);

}  // namespace phalanx
