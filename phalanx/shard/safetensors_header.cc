// The header reader. A streaming JSON handler rather than a document tree: it sees repeated names, refuses
// what does not belong there at once, and costs no more than the entries it keeps.
#include <algorithm>
#include <limits>
#include <numeric>
#include <unordered_set>

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/base/json.h"
#include "phalanx/shard/safetensors.h"

namespace phalanx {
namespace {

constexpr std::string_view kMetadataKey = "__metadata__";

std::string shorten(std::string_view text) {
  return text.size() <= 200 ? std::string(text) : std::string(text.substr(0, 200)) + "...";
}

std::string place_of(const std::string& path, std::string_view tensor) {
  return fmt::format("{}: tensor '{}'", path, shorten(tensor));
}

[[noreturn]] void fail(
    const std::string& where, const std::string& got, const std::string& needed,
    const std::string& fix = "the file is damaged or not a safetensors file; fetch it again") {
  throw Error(ErrorKind::kBadInput, {.where = where, .got = got, .needed = needed, .fix = fix});
}

class HeaderHandler : public nlohmann::json_sax<nlohmann::json> {
 public:
  HeaderHandler(const std::string& path, SafetensorsHeader* header) : path_(path), header_(header) {}

  bool null() override { refuse("null"); }
  bool boolean(bool) override { refuse("a boolean"); }
  bool number_float(double, const std::string& text) override { refuse("the number " + shorten(text)); }
  bool binary(nlohmann::json::binary_t&) override { refuse("binary data"); }

  bool number_integer(int64_t value) override { refuse(fmt::format("the negative number {}", value)); }

  bool number_unsigned(uint64_t value) override {
    if (level_ != Level::kArray) refuse(fmt::format("the number {}", value));
    if (field_ == "shape") {
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        refuse(fmt::format("the number {}", value), "sizes below 2^63");
      }
      entry_.shape.push_back(static_cast<int64_t>(value));
    } else {
      if (num_offsets_ == 2) refuse("more than two numbers");
      (num_offsets_++ == 0 ? entry_.begin : entry_.end) = value;
    }
    return true;
  }

  bool string(std::string& value) override {
    if (level_ == Level::kMetadata) {
      header_->metadata.emplace_back(field_, value);
    } else if (level_ == Level::kEntry && field_ == "dtype") {
      entry_.dtype = parse_file_dtype(value, place());
    } else {
      refuse("the string '" + shorten(value) + "'");
    }
    return true;
  }

  bool start_object(size_t) override {
    if (level_ == Level::kFile) {
      level_ = Level::kTop;
    } else if (level_ == Level::kTop) {
      level_ = field_ == kMetadataKey ? Level::kMetadata : Level::kEntry;
      entry_ = {.name = field_};
      seen_.clear();
      num_offsets_ = 0;
    } else {
      refuse("an object");
    }
    return true;
  }

  bool key(std::string& name) override {
    if (level_ == Level::kTop) {
      if (!names_.insert(name).second) fail(place_of(path_, name), "the name twice", "unique names");
    } else {
      if (level_ == Level::kEntry && name != "dtype" && name != "shape" && name != "data_offsets") {
        fail(place(), "the field '" + shorten(name) + "'", "dtype, shape and data_offsets only");
      }
      if (!seen_.insert(name).second)
        fail(place(), "the field '" + shorten(name) + "' twice", "each field once");
    }
    field_ = name;
    return true;
  }

  bool end_object() override {
    if (level_ == Level::kEntry) {
      for (const char* name : {"dtype", "shape", "data_offsets"}) {
        if (seen_.count(name) == 0)
          fail(place(), fmt::format("no field '{}'", name), "dtype, shape and data_offsets");
      }
      header_->entries.push_back(std::move(entry_));
    }
    level_ = level_ == Level::kTop ? Level::kFile : Level::kTop;
    return true;
  }

  bool start_array(size_t) override {
    if (level_ != Level::kEntry || field_ == "dtype") refuse("an array");
    level_ = Level::kArray;
    return true;
  }

  bool end_array() override {
    if (field_ == "data_offsets" && num_offsets_ != 2) refuse(fmt::format("{} numbers", num_offsets_));
    level_ = Level::kEntry;
    return true;
  }

  bool parse_error(size_t, const std::string&, const nlohmann::json::exception& error) override {
    fail(path_ + ": header", shorten(error.what()), "valid JSON");
  }

 private:
  enum class Level { kFile, kTop, kMetadata, kEntry, kArray };

  std::string place() const {
    if (level_ == Level::kMetadata) return path_ + ": " + std::string(kMetadataKey);
    if (level_ == Level::kTop) return place_of(path_, field_);
    return place_of(path_, entry_.name);
  }

  [[noreturn]] void refuse(const std::string& got, std::string needed = "") const {
    if (level_ == Level::kFile) fail(path_ + ": header", got, "a JSON object");
    if (level_ == Level::kTop) fail(place(), got, "an object");
    if (needed.empty()) {
      needed = level_ == Level::kMetadata ? "a string"
               : field_ == "dtype"        ? "a string"
               : field_ == "shape"        ? "an array of numbers that are not negative"
                                          : "an array of two numbers that are not negative";
    }
    fail(fmt::format("{}: field '{}'", place(), shorten(field_)), got, needed);
  }

  const std::string& path_;
  SafetensorsHeader* header_;
  Level level_ = Level::kFile;
  std::string field_;  // the last key
  SafetensorsEntry entry_;
  int num_offsets_ = 0;
  std::unordered_set<std::string> names_;
  std::unordered_set<std::string> seen_;  // fields of the current object
};

void check_sizes(const SafetensorsHeader& header, uint64_t data_size, const std::string& path) {
  for (const SafetensorsEntry& entry : header.entries) {
    const std::string where = place_of(path, entry.name);
    const std::string offsets = fmt::format("data_offsets [{}, {}]", entry.begin, entry.end);
    if (entry.begin > entry.end) fail(where, offsets, "begin <= end");
    if (entry.end > data_size) {
      fail(where, offsets, fmt::format("offsets within the {} bytes of data in the file", data_size),
           "the file is cut short or damaged; fetch it again");
    }
    const std::optional<uint64_t> needed = dense_bytes(entry.dtype, entry.shape);
    if (!needed) fail(where, "shape " + shorten(to_string(entry.shape)), "a size below 2^63 bytes");
    if (*needed != entry.end - entry.begin) {
      fail(where, fmt::format("{} bytes", entry.end - entry.begin),
           fmt::format("{} bytes for {} of shape {}", *needed, dtype_name(entry.dtype),
                       shorten(to_string(entry.shape))));
    }
  }
}

void check_tiling(const SafetensorsHeader& header, uint64_t data_size, const std::string& path) {
  std::vector<const SafetensorsEntry*> order;
  for (const SafetensorsEntry& entry : header.entries) order.push_back(&entry);
  std::sort(order.begin(), order.end(), [](const SafetensorsEntry* a, const SafetensorsEntry* b) {
    return std::pair(a->begin, a->end) < std::pair(b->begin, b->end);
  });
  uint64_t covered = 0;
  const SafetensorsEntry* previous = nullptr;
  for (const SafetensorsEntry* entry : order) {
    if (entry->begin < covered) {
      fail(place_of(path, entry->name),
           fmt::format("bytes [{}, {}), which overlap tensor '{}'", entry->begin, entry->end,
                       shorten(previous->name)),
           "tensors that share no byte");
    }
    if (entry->begin > covered) {
      fail(place_of(path, entry->name), fmt::format("a hole of {} bytes before it", entry->begin - covered),
           "tensors back to back");
    }
    covered = entry->end;
    previous = entry;
  }
  if (covered != data_size) {
    fail(path, fmt::format("{} bytes after the last tensor", data_size - covered),
         "a file that ends with its data");
  }
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file, const std::string& path) {
  if (file.size() < 8) {
    fail(path, fmt::format("a file of {} bytes", file.size()), "at least the 8 bytes of the header length");
  }
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | std::to_integer<uint64_t>(file[static_cast<size_t>(i)]);
  if (length > kMaxSafetensorsHeader) {
    fail(path, fmt::format("a header length of {} bytes", length),
         fmt::format("at most {}", kMaxSafetensorsHeader));
  }
  if (length > file.size() - 8) {
    fail(path, fmt::format("a header length of {} bytes in a file of {}", length, file.size()),
         "a header inside the file", "the file is cut short or not a safetensors file; fetch it again");
  }
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + 8, length);
  if (text.empty() || text.front() != '{') fail(path + ": header", "no '{' at its start", "a JSON object");

  SafetensorsHeader header;
  header.data_begin = 8 + length;
  HeaderHandler handler(path, &header);
  nlohmann::json::sax_parse(text.begin(), text.end(), &handler);
  const uint64_t data_size = file.size() - header.data_begin;
  check_sizes(header, data_size, path);
  check_tiling(header, data_size, path);
  return header;
}

}  // namespace phalanx
