#include "phalanx/data/jsonl_reader.h"

#include <simdjson.h>

#include <algorithm>
#include <cctype>
#include <cstring>

#include <fmt/format.h>

#include "phalanx/tokenizer/stream_decoder.h"
#include "phalanx/tokenizer/utf8.h"

namespace phalanx {
namespace {

static_assert(simdjson::SIMDJSON_PADDING <= JsonlReader::kPadding);

// What a parser keeps for its longest line is up to 14 times that line; beyond this it is given back.
constexpr size_t kKeep = size_t{16} << 20;

std::optional<uint32_t> hex4(std::string_view text) {
  if (text.size() < 4) return std::nullopt;
  uint32_t value = 0;
  for (const char c : text.substr(0, 4)) {
    const int lower = c | 0x20;
    if (c >= '0' && c <= '9') {
      value = value * 16 + static_cast<uint32_t>(c - '0');
    } else if (lower >= 'a' && lower <= 'f') {
      value = value * 16 + static_cast<uint32_t>(lower - 'a' + 10);
    } else {
      return std::nullopt;
    }
  }
  return value;
}

// The escapes of half a surrogate pair become \ufffd, in place. Whether there was one.
bool repair_surrogates(std::string& line) {
  const auto unit_at = [&](size_t i) -> std::optional<uint32_t> {
    if (i + 6 > line.size() || line[i] != '\\' || line[i + 1] != 'u') return std::nullopt;
    return hex4(std::string_view(line).substr(i + 2));
  };
  bool changed = false;
  for (size_t i = line.find('\\'); i < line.size(); i = line.find('\\', i)) {
    const std::optional<uint32_t> unit = unit_at(i);
    if (!unit) {
      i += 2;
      continue;
    }
    const uint32_t next = unit_at(i + 6).value_or(0);
    if (*unit >= 0xD800 && *unit < 0xDC00 && next >= 0xDC00 && next < 0xE000) {
      i += 12;
      continue;
    }
    if (*unit >= 0xD800 && *unit < 0xE000) {
      line.replace(i + 2, 4, "fffd");
      changed = true;
    }
    i += 6;
  }
  return changed;
}

// The end of the number that begins at `i`, by JSON's grammar; `i` itself when there is none.
size_t number_end(const std::string& line, size_t i) {
  const auto digits = [&](size_t at) {
    while (at < line.size() && line[at] >= '0' && line[at] <= '9') ++at;
    return at;
  };
  const auto is = [&](size_t at, std::string_view any) {
    return at < line.size() && any.find(line[at]) != std::string_view::npos;
  };
  size_t at = i + (line[i] == '-' ? 1 : 0);
  size_t end = is(at, "0") ? at + 1 : digits(at);
  if (end == at) return i;
  if (is(end, ".")) {
    at = digits(end + 1);
    if (at == end + 1) return i;
    end = at;
  }
  if (is(end, "eE")) {
    const size_t first = end + (is(end + 1, "+-") ? 2 : 1);
    at = digits(first);
    if (at == first) return i;
    end = at;
  }
  return end;
}

// Numbers outside of strings become 0, in place: no text is a number, and some are too large for any type.
void blank_numbers(std::string& line) {
  bool in_string = false;
  for (size_t i = 0; i < line.size(); ++i) {
    if (in_string) {
      if (line[i] == '\\')
        ++i;
      else if (line[i] == '"')
        in_string = false;
      continue;
    }
    if (line[i] == '"') in_string = true;
    if (line[i] != '-' && (line[i] < '0' || line[i] > '9')) continue;
    const size_t end = number_end(line, i);
    if (end == i) continue;
    line[i] = '0';
    std::fill(line.begin() + static_cast<ptrdiff_t>(i) + 1, line.begin() + static_cast<ptrdiff_t>(end), ' ');
    i = end - 1;
  }
}

}  // namespace

struct JsonlReader::Parser {
  simdjson::dom::parser dom;
  simdjson::dom::element root;
  std::string scratch;  // a line that had to be repaired

  simdjson::error_code parse(std::string_view line) {
    return dom.parse(line.data(), line.size(), false).get(root);
  }
  simdjson::error_code parse_scratch() {
    const size_t size = scratch.size();
    scratch.append(JsonlReader::kPadding, ' ');
    const simdjson::error_code error = dom.parse(scratch.data(), size, false).get(root);
    scratch.resize(size);
    return error;
  }

  // What simdjson refuses although it means something. Sets `repaired` where text was lost.
  simdjson::error_code parse_repaired(std::string_view line, simdjson::error_code error, bool& repaired) {
    scratch = line;
    if (!is_utf8(line)) {
      scratch = valid_utf8(line);
      repaired = true;
      error = parse_scratch();
    }
    if (error == simdjson::STRING_ERROR && repair_surrogates(scratch)) {
      repaired = true;
      error = parse_scratch();
    }
    if (error == simdjson::NUMBER_ERROR) {
      blank_numbers(scratch);
      error = parse_scratch();
    }
    return error;
  }
};

JsonlReader::JsonlReader(std::vector<std::string> keys)
    : keys_(std::move(keys)), texts_(keys_.size()), parser_(std::make_unique<Parser>()) {}
JsonlReader::~JsonlReader() = default;
JsonlReader::JsonlReader(JsonlReader&&) noexcept = default;

std::optional<Rejection> JsonlReader::read(std::string_view line) {
  repaired_ = false;
  for (auto& texts : texts_) texts.clear();
  if (const size_t at = line.find('\0'); at != std::string_view::npos)
    return Rejection{RejectReason::kNulByte, fmt::format("a NUL byte at column {}", at + 1)};
  if (parser_->dom.capacity() > kKeep && line.size() < kKeep) parser_ = std::make_unique<Parser>();
  simdjson::error_code error = parser_->parse(line);
  if (error != simdjson::SUCCESS) error = parser_->parse_repaired(line, error, repaired_);
  if (error == simdjson::SUCCESS) return extract();
  return Rejection{RejectReason::kBrokenJson,
                   fmt::format("broken JSON ({})", simdjson::error_message(error))};
}

std::optional<Rejection> JsonlReader::extract() {
  simdjson::dom::object object;
  if (parser_->root.get(object) != simdjson::SUCCESS)
    return Rejection{RejectReason::kNotAnObject, "a line that is no JSON object"};
  for (size_t k = 0; k < keys_.size(); ++k) {
    std::optional<simdjson::dom::element> value;
    for (const auto field : object) {
      if (field.key == keys_[k]) value = field.value;
    }
    if (!value) return Rejection{RejectReason::kMissingKey, fmt::format("no key '{}'", keys_[k])};
    std::string_view text;
    simdjson::dom::array list;
    bool good = true;
    if (value->get(text) == simdjson::SUCCESS) {
      texts_[k].push_back(text);
    } else if (value->get(list) == simdjson::SUCCESS) {
      for (const simdjson::dom::element item : list) {
        good = good && item.get(text) == simdjson::SUCCESS;
        texts_[k].push_back(text);
      }
    } else {
      good = false;
    }
    if (!good)
      return Rejection{RejectReason::kNotText, fmt::format("the value of '{}' is no string", keys_[k])};
  }
  return std::nullopt;
}

bool is_json_object(const std::string& line) {
  JsonlReader reader({});
  std::string padded = line;
  padded.append(JsonlReader::kPadding, ' ');
  return !reader.read(std::string_view(padded).substr(0, line.size()));
}

}  // namespace phalanx
