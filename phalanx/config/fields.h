// File: phalanx/config/fields.h
//
// Purpose: the contract between a typed config struct and everything that reads it: TOML, flags, help, the start-up
//   table and checkpoint metadata all walk the same visit_fields.
// Contract: a section is a plain struct with defaults and
//     template <typename Visitor> void visit_fields(Visitor& v) { v.field("hidden_size", hidden_size, "help"); }
//   Field types: bool, int64_t, double, std::string, std::vector of int64_t, double or std::string, std::optional of
//   int64_t or double ("none" in text), and enums that provide, found by argument-dependent lookup,
//     std::span<const EnumName<E>> enum_names(E);
//   Field names are snake_case in TOML (`hidden_size`) and the same in flags (`--model.hidden_size=768`;
//   `--model.hidden-size` is accepted too). Help is one line, starts with a lower-case letter, names the unit.
#pragma once

#include <string_view>

namespace phalanx {

template <typename E>
struct EnumName {
  E value;
  std::string_view name;
};

}  // namespace phalanx
