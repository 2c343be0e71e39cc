#include "phalanx/config/field_ref.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>

namespace phalanx {
namespace {

constexpr size_t kShown = 200;  // characters of a wrong value that an error repeats

// The checked step from what was written to what a field holds. An integer suits a number; nothing else bends.
bool take(const ConfigScalar& scalar, bool& out) {
  if (const bool* b = std::get_if<bool>(&scalar)) return out = *b, true;
  return false;
}
bool take(const ConfigScalar& scalar, int64_t& out) {
  if (const int64_t* i = std::get_if<int64_t>(&scalar)) return out = *i, true;
  return false;
}
bool take(const ConfigScalar& scalar, double& out) {
  if (const int64_t* i = std::get_if<int64_t>(&scalar)) return out = static_cast<double>(*i), true;
  if (const double* d = std::get_if<double>(&scalar)) return out = *d, true;
  return false;
}
bool take(const ConfigScalar& scalar, std::string& out) {
  if (const std::string* s = std::get_if<std::string>(&scalar)) return out = *s, true;
  return false;
}

bool is_none(const ConfigScalar& scalar) {
  const std::string* text = std::get_if<std::string>(&scalar);
  return std::holds_alternative<std::monostate>(scalar) || (text != nullptr && *text == "none");
}

template <typename T>
bool store_one(const ConfigValue& value, T* out) {
  return !value.is_list && take(value.items.at(0), *out);
}

template <typename T>
bool store_one(const ConfigValue& value, std::vector<T>* out) {
  if (!value.is_list) return false;
  std::vector<T> taken(value.items.size());
  for (size_t i = 0; i < taken.size(); ++i) {
    if (!take(value.items[i], taken[i])) return false;
    if constexpr (std::is_same_v<T, std::string>) {
      if (taken[i].empty()) return false;  // its text could not be told from an empty list's
    }
  }
  *out = std::move(taken);
  return true;
}

template <typename T>
bool store_one(const ConfigValue& value, std::optional<T>* out) {
  if (value.is_list) return false;
  if (is_none(value.items.at(0))) {
    out->reset();
    return true;
  }
  T taken{};
  if (!take(value.items.at(0), taken)) return false;
  *out = taken;
  return true;
}

bool store_one(const ConfigValue& value, const EnumAccess& out) {
  std::string name;
  if (value.is_list || !take(value.items.at(0), name)) return false;
  for (size_t place = 0; place < out.names.size(); ++place) {
    if (out.names[place] != name) continue;
    out.set(out.storage, place);
    return true;
  }
  return false;
}

template <typename T>
ConfigValue load_list(const std::vector<T>& list) {
  ConfigValue value{.is_list = true};
  for (const T& item : list) value.items.emplace_back(item);
  return value;
}

template <typename T>
ConfigValue load_optional(const std::optional<T>& item) {
  return scalar_value(item ? ConfigScalar(*item) : ConfigScalar());
}

bool fits_item(const ConfigScalar& item, const FieldTarget& target) {
  return std::visit(
      [&item]<typename T>(const T&) {
        if constexpr (std::is_pointer_v<T>) {
          std::remove_pointer_t<T> scratch{};
          return store_one({.is_list = true, .items = {item}}, &scratch);
        }
        return false;
      },
      target);
}

// What people call things elsewhere; these are no typos, and the nearest name would mislead ("gpu" is near "cpu").
std::string near_enum_name(std::string word, const std::vector<std::string_view>& names) {
  static constexpr std::pair<std::string_view, std::string_view> kSynonyms[] = {
      {"gpu", "cuda"},
      {"nvidia", "cuda"},
      {"bfloat16", "bf16"},
      {"float16", "fp16"},
      {"half", "fp16"},
      {"float32", "fp32"},
      {"float", "fp32"},
      {"float64", "fp64"},
      {"double", "fp64"},
      {"adam", "adamw"},
      {"tpu", ""},
      {"mps", ""},
      {"learned", "learned_absolute"}};
  for (char& c : word) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  for (const auto& [theirs, ours] : kSynonyms) {
    if (word != theirs) continue;
    return std::find(names.begin(), names.end(), ours) != names.end() ? std::string(ours) : "";
  }
  return misspelt_name(word, names);
}

std::string integer_example(const std::string& word, const std::string& usual) {
  const auto number = parse_number(word);
  if (number && std::abs(*number) < 0x1p62)
    return fmt::format("write the whole number {}", std::llround(*number));
  if (number) return "write an integer of at most 18 digits";
  return fmt::format("write an integer, e.g. {}", parse_integer(usual) ? usual : "1");
}

std::string number_example(const std::string& usual) {
  return fmt::format("write a finite number, e.g. {}", parse_number(usual) ? usual : "0.5");
}

bool is_snake_case(const std::string& name) {
  for (const char c : name) {
    if (!std::islower(static_cast<unsigned char>(c)) && !std::isdigit(static_cast<unsigned char>(c)) &&
        c != '_') {
      return false;
    }
  }
  return !name.empty();
}

}  // namespace

FieldRef::FieldRef(std::string_view name, std::string_view help, FieldTarget target)
    : name_(name), help_(help), target_(std::move(target)) {
  PHALANX_CHECK(is_snake_case(name_), "field name '" + name_ + "' is snake_case");
  PHALANX_CHECK(!help_.empty() && help_.find('\n') == std::string::npos,
                "field '" + name_ + "' has a line of help");
  default_text_ = text();
}

std::string FieldRef::type_name() const {
  return std::visit(
      Overloaded{[](bool*) { return std::string("true or false"); },
                 [](int64_t*) { return std::string("an integer"); },
                 [](double*) { return std::string("a number"); },
                 [](std::string*) { return std::string("a text"); },
                 [](std::vector<int64_t>*) { return std::string("a list of integers"); },
                 [](std::vector<double>*) { return std::string("a list of numbers"); },
                 [](std::vector<std::string>*) { return std::string("a list of texts, none of them empty"); },
                 [](std::optional<int64_t>*) { return std::string("an integer or none"); },
                 [](std::optional<double>*) { return std::string("a number or none"); },
                 [](const EnumAccess& e) { return fmt::format("one of: {}", fmt::join(e.names, ", ")); }},
      target_);
}

std::vector<std::string_view> FieldRef::enum_names() const {
  const EnumAccess* access = std::get_if<EnumAccess>(&target_);
  return access != nullptr ? access->names : std::vector<std::string_view>{};
}

bool FieldRef::is_list() const {
  return std::holds_alternative<std::vector<int64_t>*>(target_) ||
         std::holds_alternative<std::vector<double>*>(target_) ||
         std::holds_alternative<std::vector<std::string>*>(target_);
}

bool FieldRef::is_plain_number() const {
  return std::holds_alternative<int64_t*>(target_) || std::holds_alternative<double*>(target_);
}

ConfigValue FieldRef::value() const {
  return std::visit(Overloaded{[](const std::vector<int64_t>* v) { return load_list(*v); },
                               [](const std::vector<double>* v) { return load_list(*v); },
                               [](const std::vector<std::string>* v) { return load_list(*v); },
                               [](const std::optional<int64_t>* v) { return load_optional(*v); },
                               [](const std::optional<double>* v) { return load_optional(*v); },
                               [this](const EnumAccess& e) {
                                 const size_t place = e.get(e.storage);
                                 PHALANX_CHECK(place < e.names.size(),
                                               "field '" + name_ + "' holds a named value");
                                 return scalar_value(std::string(e.names[place]));
                               },
                               [](const auto* v) { return scalar_value(*v); }},
                    target_);
}

// A word as the type of the field reads it; text when it does not fit, which store() then refuses.
ConfigScalar FieldRef::read_word(const std::string& word) const {
  const auto integer = [&]() -> ConfigScalar {
    if (const auto parsed = parse_integer(word)) return *parsed;
    return word;
  };
  const auto number = [&]() -> ConfigScalar {
    if (const auto parsed = parse_number(word)) return *parsed;
    return word;
  };
  return std::visit(
      Overloaded{[&](bool*) -> ConfigScalar {
                   if (word == "true") return true;
                   if (word == "false") return false;
                   return word;
                 },
                 [&](int64_t*) { return integer(); }, [&](std::vector<int64_t>*) { return integer(); },
                 [&](std::optional<int64_t>*) { return integer(); }, [&](double*) { return number(); },
                 [&](std::vector<double>*) { return number(); },
                 [&](std::optional<double>*) { return number(); },
                 [&](const auto&) -> ConfigScalar { return word; }},
      target_);
}

bool FieldRef::store(const ConfigValue& value) {
  return std::visit([&value](const auto& target) { return store_one(value, target); }, target_);
}

void FieldRef::set_text(const std::string& text, const ValueSource& source) {
  if (!is_list()) return set_words({text}, text, source);
  const auto items = split_list(text);
  if (!items) reject("'" + text.substr(0, kShown) + "'", text, source);
  set_words(*items, text, source);
}

void FieldRef::set_items(const std::vector<std::string>& items, const ValueSource& source) {
  set_words(items, fmt::format("{}", fmt::join(items, " ")), source);
}

void FieldRef::set_words(const std::vector<std::string>& words, const std::string& written,
                         const ValueSource& source) {
  ConfigValue value{.is_list = is_list() || words.size() != 1};
  for (const std::string& word : words) value.items.push_back(read_word(word));
  if (!store(value)) reject("'" + written.substr(0, kShown) + "'", written, source);
}

void FieldRef::set_value(const ConfigValue& value, const ValueSource& source) {
  if (store(value)) return;
  std::string got = describe_value(value);
  for (const ConfigScalar& item : value.items) {
    if (value.is_list && is_list() && !fits_item(item, target_)) {
      got = "a list with " + describe_value(scalar_value(item));
      break;
    }
  }
  reject(got, value.is_list ? "" : format_scalar(value.items.at(0)), source);
}

void FieldRef::reject(const std::string& got, const std::string& word, const ValueSource& source) const {
  const std::string help = fmt::format(" ({}: {})", name_, help_);
  throw Error(source.kind, {.where = source.where,
                            .got = got,
                            .needed = type_name(),
                            .fix = usable_value(word.substr(0, kShown), source.kind) + help});
}

// A value that would be taken in its place, in the spelling of where the wrong one stands.
std::string FieldRef::usable_value(const std::string& word, ErrorKind kind) const {
  if (const EnumAccess* access = std::get_if<EnumAccess>(&target_)) {
    const std::string near = near_enum_name(word, access->names);
    return near.empty() ? fmt::format("choose one of these; the default is {}", default_text_)
                        : fmt::format("did you mean '{}'?", near);
  }
  const bool is_file = kind == ErrorKind::kBadInput;
  const auto list = [is_file](const char* in_file, const char* in_flag) {
    return is_file ? fmt::format("write [{}]", in_file) : fmt::format("write {}", in_flag);
  };
  return std::visit(Overloaded{[](bool*) { return std::string("write true or false"); },
                               [&](int64_t*) { return integer_example(word, default_text_); },
                               [&](std::optional<int64_t>*) { return integer_example(word, default_text_); },
                               [&](double*) { return number_example(default_text_); },
                               [&](std::optional<double>*) { return number_example(default_text_); },
                               [&](std::string*) {
                                 return is_file ? fmt::format("write it in quotes: \"{}\"", word)
                                                : "write one word";
                               },
                               [&](std::vector<int64_t>*) { return list("1, 2", "1,2"); },
                               [&](std::vector<double>*) { return list("0.5, 1.0", "0.5,1.0"); },
                               [&](std::vector<std::string>*) { return list("\"a\", \"b\"", "a,b"); },
                               [](const EnumAccess&) { return std::string(); }},
                    target_);
}

}  // namespace phalanx
