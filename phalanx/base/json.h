// File: phalanx/base/json.h
//
// Purpose: JSON in and out, with our errors. The library is nlohmann-json; key order is kept.
// Contract: parse_json throws Error(kBadInput) naming `where`, line and column; nesting deeper than 128 is refused
//   (a hostile file must not overflow the stack). dump keeps doubles to full precision.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace phalanx {

using Json = nlohmann::ordered_json;

Json parse_json(std::string_view text, const std::string& where);
Json read_json_file(const std::string& path);

// obj[key] as T, or Error(kBadInput) naming `where` and the key, saying whether it is missing or of another type.
template <typename T>
T json_get(const Json& object, const char* key, const std::string& where);

[[noreturn]] void throw_json_field(const std::string& where, const char* key, const std::string& got,
                                   const std::string& needed);

template <typename T>
T json_get(const Json& object, const char* key, const std::string& where) {
  const auto it = object.find(key);
  if (it == object.end()) throw_json_field(where, key, "no such field", "the field");
  try {
    return it->template get<T>();
  } catch (const nlohmann::json::exception& e) {
    throw_json_field(where, key, it->dump(), e.what());
  }
}

}  // namespace phalanx
