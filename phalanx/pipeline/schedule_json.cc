#include "phalanx/pipeline/schedule_json.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <limits>
#include <span>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/base/json.h"
#include "phalanx/pipeline/verify.h"

namespace phalanx {
namespace {

constexpr int kVersion = 1;
constexpr std::array<std::string_view, 9> kFileKeys = {
    "version", "kind", "pp", "chunks", "micro_batches", "forward_only", "placement", "ranks", "peak_stash"};
constexpr std::array<std::string_view, 4> kActionKeys = {"op", "mb", "chunk", "peer"};
constexpr std::string_view kOps = "F, B, W, BW, send_f, recv_f, send_b or recv_b";

// Where in the file a value is, put together only when an error names it: "mine.json: ranks[1][7].op".
struct Place {
  const std::string* file = nullptr;
  std::string_view key = {};  // of the file
  int row = -1;
  int item = -1;
  std::string_view field = {};  // of an action

  Place at(int index) const {
    Place place = *this;
    (row < 0 ? place.row : place.item) = index;
    return place;
  }
  Place with(std::string_view name) const {
    Place place = *this;
    (key.empty() ? place.key : place.field) = name;
    return place;
  }
  std::string text() const {
    std::string text = *file;
    if (!key.empty()) text += fmt::format(": {}", key);
    for (const int index : {row, item}) {
      if (index >= 0) text += fmt::format("[{}]", index);
    }
    if (!field.empty()) text += fmt::format(".{}", field);
    return text;
  }
};

[[noreturn]] void throw_at(const Place& place, const std::string& got, const std::string& needed,
                           const std::string& fix = "correct the file at that place") {
  throw Error(ErrorKind::kBadInput, {.where = place.text(), .got = got, .needed = needed, .fix = fix});
}

// A value as it may stand in an error: short, and printable whatever its bytes are.
std::string shown(const Json& value) {
  if (value.is_object()) return fmt::format("an object of {} fields", value.size());
  if (value.is_array()) return fmt::format("a list of {}", value.size());
  const std::string text = value.dump(-1, ' ', true);
  return text.size() > 60 ? text.substr(0, 57) + ".." : text;
}

void require_object(const Json& value, std::span<const std::string_view> known, const Place& place) {
  if (!value.is_object()) throw_at(place, shown(value), "an object");
  for (const auto& [key, ignored] : value.get_ref<const Json::object_t&>()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    const std::string near = key.size() > 40 ? "" : nearest_name(key, known);
    throw_at(place, fmt::format("the unknown key {}", shown(Json(key))),
             fmt::format("no other than {}", fmt::join(known, ", ")),
             near.empty() ? "take it out" : "did you mean \"" + near + "\"?");
  }
}

const Json& field(const Json& object, std::string_view key, const Place& place) {
  const auto found = object.find(key);
  if (found == object.end()) throw_at(place, fmt::format("no \"{}\"", key), "the field");
  return *found;
}

int read_int(const Json& value, const Place& place) {
  constexpr int64_t kMax = std::numeric_limits<int>::max();
  const bool fits = value.is_number_unsigned() ? value.get<uint64_t>() <= uint64_t{kMax}
                                               : value.is_number_integer() && value.get<int64_t>() >= -kMax &&
                                                     value.get<int64_t>() <= kMax;
  if (!fits) throw_at(place, shown(value), "a whole number of at most 31 bits");
  return value.get<int>();
}

int read_int(const Json& object, std::string_view key, const Place& place) {
  return read_int(field(object, key, place), place.with(key));
}

const Json::array_t& read_list(const Json& value, const Place& place) {
  if (!value.is_array()) throw_at(place, shown(value), "a list");
  return value.get_ref<const Json::array_t&>();
}

std::vector<int> read_ints(const Json& value, const Place& place) {
  std::vector<int> numbers;
  for (const Json& item : read_list(value, place)) {
    numbers.push_back(read_int(item, place.at(static_cast<int>(numbers.size()))));
  }
  return numbers;
}

Action read_action(const Json& value, const Place& place) {
  require_object(value, kActionKeys, place);
  const Json& word = field(value, "op", place);
  const std::optional<Op> op =
      word.is_string() ? op_from_name(word.get_ref<const std::string&>()) : std::nullopt;
  if (!op) throw_at(place.with("op"), shown(word), std::string(kOps));
  Action action{
      .op = *op, .micro_batch = read_int(value, "mb", place), .chunk = read_int(value, "chunk", place)};
  if (!is_compute(*op)) {
    action.peer = read_int(value, "peer", place);
  } else if (value.contains("peer")) {
    throw_at(place.with("peer"), shown(value.at("peer")),
             fmt::format("no peer: {} is no message", op_name(*op)));
  }
  return action;
}

ActionList read_actions(const Json& value, const Place& place) {
  const Json::array_t& items = read_list(value, place);
  ActionList list;
  list.reserve(items.size());
  for (const Json& item : items) list.push_back(read_action(item, place.at(static_cast<int>(list.size()))));
  return list;
}

// Before anything else: a newer file may have other fields.
void check_version(const Json& root, const Place& file) {
  if (!root.is_object()) throw_at(file, shown(root), "an object: a schedule");
  const int version = read_int(root, "version", file);
  if (version > kVersion) {
    throw_at(file.with("version"), fmt::format("{}", version), fmt::format("{}", kVersion),
             "read it with the version of phalanx that wrote it, or write it again");
  }
  if (version < 1) throw_at(file.with("version"), fmt::format("{}", version), fmt::format("{}", kVersion));
}

void append_action(std::string& text, const Action& action) {
  fmt::format_to(std::back_inserter(text), R"({{"op":"{}","mb":{},"chunk":{})", op_name(action.op),
                 action.micro_batch, action.chunk);
  if (!is_compute(action.op)) fmt::format_to(std::back_inserter(text), R"(,"peer":{})", action.peer);
  text += '}';
}

}  // namespace

std::string schedule_to_json(const Schedule& schedule) {
  std::string text = fmt::format(
      "{{\"version\":{},\"kind\":{},\"pp\":{},\"chunks\":{},\"micro_batches\":{},{}\n", kVersion,
      Json(schedule.kind).dump(-1, ' ', true, Json::error_handler_t::replace), schedule.pp, schedule.chunks,
      schedule.micro_batches, schedule.forward_only ? "\"forward_only\":true," : "");
  text += "\"placement\":[";
  for (size_t rank = 0; rank < schedule.placement.size(); ++rank) {
    text += fmt::format("{}[{}]", rank == 0 ? "" : ",", fmt::join(schedule.placement[rank], ","));
  }
  text += "],\n\"ranks\":[\n";
  for (size_t rank = 0; rank < schedule.ranks.size(); ++rank) {
    text += '[';
    for (const Action& action : schedule.ranks[rank]) {
      if (text.back() != '[') text += ',';
      append_action(text, action);
    }
    text += rank + 1 < schedule.ranks.size() ? "],\n" : "]\n";
  }
  return text + fmt::format("],\n\"peak_stash\":[{}]}}", fmt::join(schedule.peak_stash, ","));
}

Schedule schedule_from_json(std::string_view text, const std::string& where) {
  const Json root = parse_json(text, where);
  const Place file{.file = &where};
  check_version(root, file);
  require_object(root, kFileKeys, file);
  const Json& kind = field(root, "kind", file);
  if (!kind.is_string()) throw_at(file.with("kind"), shown(kind), "a text");
  Schedule schedule;
  schedule.kind = kind.get<std::string>();
  schedule.pp = read_int(root, "pp", file);
  schedule.chunks = read_int(root, "chunks", file);
  schedule.micro_batches = read_int(root, "micro_batches", file);
  if (root.contains("forward_only")) {
    const Json& flag = root.at("forward_only");
    if (!flag.is_boolean()) throw_at(file.with("forward_only"), shown(flag), "true or false");
    schedule.forward_only = flag.get<bool>();
  }
  const Place placement = file.with("placement");
  for (const Json& row : read_list(field(root, "placement", file), placement)) {
    schedule.placement.push_back(read_ints(row, placement.at(static_cast<int>(schedule.placement.size()))));
  }
  const Place ranks = file.with("ranks");
  for (const Json& list : read_list(field(root, "ranks", file), ranks)) {
    schedule.ranks.push_back(read_actions(list, ranks.at(static_cast<int>(schedule.ranks.size()))));
  }
  schedule.peak_stash = read_ints(field(root, "peak_stash", file), file.with("peak_stash"));
  return schedule;
}

Schedule read_schedule_file(const std::string& path) {
  Schedule schedule = schedule_from_json(read_file(path), path);
  verify(schedule, path);
  return schedule;
}

}  // namespace phalanx
