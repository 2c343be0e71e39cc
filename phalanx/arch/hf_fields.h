// File: phalanx/arch/hf_fields.h
//
// Purpose: reads the fields of one JSON object and knows which of them nobody has asked for.
// Contract: each accessor marks its key as understood, whether present or not. A value of the wrong type throws at
//   once; values and names that are not implemented are collected in `problems`, as "field 'PREFIX.KEY'".
// Used by hf_config.cc and hf_mamba.cc only.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <set>
#include <string>

#include "phalanx/arch/violations.h"
#include "phalanx/base/json.h"

namespace phalanx {

class HfFields {
 public:
  HfFields(const Json& object, std::string where, std::string prefix, Violations& problems)
      : object_(object), where_(std::move(where)), prefix_(std::move(prefix)), problems_(problems) {}

  // The value, or nullptr when the key is absent. JSON null is returned as such.
  const Json* find(const std::string& key);
  bool absent_or_null(const std::string& key);

  int64_t integer(const std::string& key);                    // must be there
  int64_t integer(const std::string& key, int64_t fallback);  // absent or null: the fallback
  double number(const std::string& key, double fallback);
  bool flag(const std::string& key, bool fallback);
  std::string text(const std::string& key, const std::string& fallback);

  // Absent, null or equal to `value`; otherwise a problem, since we implement only that.
  void must_be(const std::string& key, const Json& value);
  // Absent, null or empty.
  void must_be_unset(const std::string& key, const std::string& why);
  // Does not change what the model computes.
  void ignore(std::initializer_list<const char*> keys);

  void problem(const std::string& key, const std::string& needed, const std::string& fix);
  // A problem for each field that no call above has named.
  void report_unknown();

  std::string name(const std::string& key) const;

 private:
  [[noreturn]] void wrong_type(const std::string& key, const std::string& got,
                               const std::string& needed) const;

  const Json& object_;
  std::string where_;
  std::string prefix_;
  Violations& problems_;
  std::set<std::string> understood_;
};

}  // namespace phalanx
