// File: phalanx/config/field_ref.h
//
// Purpose: one field of a config section without its type: name, help, type in words, value as text, and setters
//   that check. collect_fields makes them for any struct that keeps the contract of fields.h.
// Contract: a FieldRef points into the section it was made from, which must outlive it and not move. text() of one
//   field given to set_text() of another of the same type makes both equal, doubles to the last bit. The setters throw
//   Error(source.kind) naming source.where, what was got and what is needed; a failed setter changes nothing.
// Example:
//   for (FieldRef& field : collect_fields(model)) fmt::print("{} = {}\n", field.name(), field.text());
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "phalanx/base/error.h"
#include "phalanx/config/config_value.h"
#include "phalanx/config/fields.h"

namespace phalanx {

// Where a value was written, for errors: "--train.lr" (kUsage) or "run.toml:12:3 train.lr" (kBadInput).
struct ValueSource {
  std::string where;
  ErrorKind kind = ErrorKind::kBadInput;
};

// An enum behind two functions over places in its list of names.
struct EnumAccess {
  void* storage = nullptr;
  std::vector<std::string_view> names;
  size_t (*get)(const void* storage) = nullptr;  // names.size() when the value has no name
  void (*set)(void* storage, size_t place) = nullptr;
};

using FieldTarget =
    std::variant<bool*, int64_t*, double*, std::string*, std::vector<int64_t>*, std::vector<double>*,
                 std::vector<std::string>*, std::optional<int64_t>*, std::optional<double>*, EnumAccess>;

class FieldRef {
 public:
  FieldRef(std::string_view name, std::string_view help, FieldTarget target);

  const std::string& name() const { return name_; }
  const std::string& help() const { return help_; }
  const std::string& default_text() const { return default_text_; }
  bool is_default() const { return text() == default_text_; }

  std::string type_name() const;                     // "an integer", "one of: gelu, swiglu"
  std::vector<std::string_view> enum_names() const;  // empty unless an enum
  bool is_bool() const { return std::holds_alternative<bool*>(target_); }
  bool is_list() const;
  bool is_plain_number() const;  // neither in a list nor optional

  ConfigValue value() const;
  std::string text() const { return format_value(value()); }

  // From a flag. Lists are comma-separated, optionals take "none".
  void set_text(const std::string& text, const ValueSource& source);
  // From a flag that takes several words; each is one item, commas and all. One word suits any field.
  void set_items(const std::vector<std::string>& items, const ValueSource& source);
  // From TOML or JSON: types must match, except that an integer suits a number and "none" or null an optional.
  void set_value(const ConfigValue& value, const ValueSource& source);

  void set_default_text(std::string text) { default_text_ = std::move(text); }

 private:
  void set_words(const std::vector<std::string>& words, const std::string& written,
                 const ValueSource& source);
  ConfigScalar read_word(const std::string& word) const;
  bool store(const ConfigValue& value);
  std::string usable_value(const std::string& word, ErrorKind kind) const;
  [[noreturn]] void reject(const std::string& got, const std::string& word, const ValueSource& source) const;

  std::string name_;
  std::string help_;
  std::string default_text_;
  FieldTarget target_;
};

template <typename E>
EnumAccess make_enum_access(E& storage) {
  EnumAccess access{.storage = &storage};
  for (const EnumName<E>& entry : enum_names(E{})) access.names.push_back(entry.name);
  access.get = [](const void* from) {
    const auto names = enum_names(E{});
    size_t place = 0;
    while (place < names.size() && names[place].value != *static_cast<const E*>(from)) ++place;
    return place;
  };
  access.set = [](void* to, size_t place) { *static_cast<E*>(to) = enum_names(E{})[place].value; };
  return access;
}

// The visitor of collect_fields.
class FieldCollector {
 public:
  template <typename T>
  void field(std::string_view name, T& storage, std::string_view help) {
    if constexpr (std::is_enum_v<T>) {
      fields.emplace_back(name, help, make_enum_access(storage));
    } else {
      static_assert(std::is_constructible_v<FieldTarget, T*>,
                    "a field has one of the types listed in fields.h");
      fields.emplace_back(name, help, FieldTarget(&storage));
    }
  }

  std::vector<FieldRef> fields;
};

// Defaults are those of a default-constructed Section, whatever `section` holds now.
template <typename Section>
std::vector<FieldRef> collect_fields(Section& section) {
  FieldCollector collector;
  section.visit_fields(collector);
  Section defaults{};
  FieldCollector default_collector;
  defaults.visit_fields(default_collector);
  PHALANX_CHECK(collector.fields.size() == default_collector.fields.size(),
                "a section always has the same fields");
  for (size_t i = 0; i < collector.fields.size(); ++i) {
    collector.fields[i].set_default_text(default_collector.fields[i].text());
  }
  return std::move(collector.fields);
}

}  // namespace phalanx
