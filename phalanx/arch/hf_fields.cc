#include "phalanx/arch/hf_fields.h"

#include <cmath>
#include <limits>

namespace phalanx {
namespace {

std::string shortened(const Json& value) {
  const std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text.size() <= 80 ? text : text.substr(0, 77) + "...";
}

}  // namespace

std::string HfFields::name(const std::string& key) const {
  return "field '" + prefix_ + key + "'";
}

void HfFields::wrong_type(const std::string& key, const std::string& got, const std::string& needed) const {
  throw Error(ErrorKind::kBadInput, {.where = where_ + ": " + name(key),
                                     .got = got,
                                     .needed = needed,
                                     .fix = "check the file; it may be of another kind or cut short"});
}

const Json* HfFields::find(const std::string& key) {
  understood_.insert(key);
  const auto it = object_.find(key);
  return it == object_.end() ? nullptr : &*it;
}

bool HfFields::absent_or_null(const std::string& key) {
  const Json* value = find(key);
  return value == nullptr || value->is_null();
}

int64_t HfFields::integer(const std::string& key) {
  const Json* value = find(key);
  if (value == nullptr) wrong_type(key, "no such field", "an integer");
  const bool huge = value->is_number_unsigned() &&
                    value->get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  if (!value->is_number_integer() || huge) wrong_type(key, shortened(*value), "an integer");
  return value->get<int64_t>();
}

int64_t HfFields::integer(const std::string& key, int64_t fallback) {
  return absent_or_null(key) ? fallback : integer(key);
}

double HfFields::number(const std::string& key, double fallback) {
  if (absent_or_null(key)) return fallback;
  const Json& value = *find(key);
  if (!value.is_number() || !std::isfinite(value.get<double>()))
    wrong_type(key, shortened(value), "a number");
  return value.get<double>();
}

bool HfFields::flag(const std::string& key, bool fallback) {
  if (absent_or_null(key)) return fallback;
  const Json& value = *find(key);
  if (!value.is_boolean()) wrong_type(key, shortened(value), "true or false");
  return value.get<bool>();
}

std::string HfFields::text(const std::string& key, const std::string& fallback) {
  if (absent_or_null(key)) return fallback;
  const Json& value = *find(key);
  if (!value.is_string()) wrong_type(key, shortened(value), "a string");
  return value.get<std::string>();
}

void HfFields::must_be(const std::string& key, const Json& value) {
  if (absent_or_null(key) || *find(key) == value) return;
  problem(key, value.dump(), "nothing else is implemented; use a model without it");
}

void HfFields::must_be_unset(const std::string& key, const std::string& why) {
  if (absent_or_null(key) || find(key)->empty()) return;
  problem(key, "no such field", why);
}

void HfFields::ignore(std::initializer_list<const char*> keys) {
  for (const char* key : keys) understood_.insert(key);
}

void HfFields::problem(const std::string& key, const std::string& needed, const std::string& fix) {
  const Json* value = find(key);
  problems_.add(name(key), value == nullptr ? "no such field" : shortened(*value), needed, fix);
}

void HfFields::report_unknown() {
  for (const auto& [key, value] : object_.items()) {
    if (understood_.contains(key)) continue;
    problems_.add(name(key.substr(0, 80)), shortened(value),
                  "a field that is implemented or known to be harmless",
                  "a field we do not know could change the model; remove it from the file if it does not");
  }
}

}  // namespace phalanx
