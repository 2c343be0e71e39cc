#include "phalanx/telemetry/metrics.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <map>
#include <type_traits>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/base/json.h"
#include "phalanx/base/log.h"

namespace phalanx {
namespace {

Json to_json_value(int64_t value) {
  return value;
}
Json to_json_value(bool value) {
  return value;
}
Json to_json_value(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return value;
}

struct FieldReader {
  const Json& object;
  const std::string& where;

  void read(const char* key, const Json& value, int64_t& out) const {
    const bool fits = value.is_number_unsigned()
                          ? value.get<uint64_t>() <= uint64_t{std::numeric_limits<int64_t>::max()}
                          : value.is_number_integer();
    if (!fits) throw_json_field(where, key, value.dump(), "a 64-bit integer");
    out = value.get<int64_t>();
  }

  void read(const char* key, const Json& value, bool& out) const {
    if (!value.is_boolean()) throw_json_field(where, key, value.dump(), "true or false");
    out = value.get<bool>();
  }

  void read(const char* key, const Json& value, double& out) const {
    if (value == "NaN") {
      out = std::numeric_limits<double>::quiet_NaN();
    } else if (value == "Infinity" || value == "-Infinity") {
      out = std::numeric_limits<double>::infinity() * (value == "Infinity" ? 1 : -1);
    } else if (value.is_number()) {
      out = value.get<double>();
    } else {
      throw_json_field(where, key, value.dump(), "a number, \"NaN\", \"Infinity\" or \"-Infinity\"");
    }
  }

  template <typename T>
  void operator()(const char* key, T& out) const {
    const auto it = object.find(key);
    if (it == object.end()) throw_json_field(where, key, "no such field", "the field");
    read(key, *it, out);
  }

  template <typename T>
  void operator()(const char* key, std::optional<T>& out) const {
    const auto it = object.find(key);
    if (it == object.end() || it->is_null()) return;
    read(key, *it, out.emplace());
  }
};

// The start of a bad line, safe to print.
std::string excerpt(std::string_view line) {
  std::string text;
  for (const char c : line.substr(0, 60)) text += c >= ' ' && c <= '~' ? c : '?';
  if (line.size() > 60) text += "...";
  return "'" + text + "'";
}

bool is_record(std::string_view line) {
  try {
    metrics_from_json(line, "");
    return true;
  } catch (const Error&) {
    return false;
  }
}

// Brings a file that a killed process left back to whole lines, before anything is appended.
const std::string& repaired(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return path;
  size_t keep = 0;
  bool whole = false;
  {
    const MappedFile file(path);
    const std::string_view text = file.text();
    const size_t newline = text.rfind('\n');
    keep = newline == std::string_view::npos ? 0 : newline + 1;
    if (keep == text.size()) return path;
    whole = is_record(text.substr(keep));
    if (!whole) {
      log_warning(fmt::format("{}: removed an unfinished last line of {} bytes", path, text.size() - keep));
    }
  }
  if (whole) {
    AppendFile(path, OpenMode::kAppend).append("\n");
  } else if (::truncate(path.c_str(), static_cast<off_t>(keep)) != 0) {
    throw Error(ErrorKind::kIo, {.where = path,
                                 .got = std::string("truncate failed: ") + std::strerror(errno),
                                 .fix = "check that you may write this file"});
  }
  return path;
}

}  // namespace

std::string metrics_to_json(const StepMetrics& metrics) {
  Json object = Json::object();
  visit_metrics(metrics, [&object]<typename T>(const char* key, const T& field) {
    if constexpr (std::is_arithmetic_v<T>) {
      object[key] = to_json_value(field);
    } else if (field.has_value()) {
      object[key] = to_json_value(*field);
    }
  });
  return object.dump();
}

StepMetrics metrics_from_json(std::string_view line, const std::string& where) {
  Json object;
  try {
    object = parse_json(line, where);
  } catch (const Error&) {  // its line and column would be those inside this one line
    object = nullptr;
  }
  if (!object.is_object()) {
    throw Error(ErrorKind::kBadInput, {.where = where,
                                       .got = excerpt(line),
                                       .needed = "one JSON object",
                                       .fix = "delete that line; the others stay valid"});
  }
  StepMetrics metrics;
  visit_metrics(metrics, FieldReader{object, where});
  return metrics;
}

MetricsWriter::MetricsWriter(const std::string& path, int sync_every)
    : file_(repaired(path), OpenMode::kAppend), sync_every_(sync_every) {
  PHALANX_CHECK(sync_every > 0, "sync_every counts lines and starts at 1");
}

void MetricsWriter::append(const StepMetrics& metrics) {
  file_.append(metrics_to_json(metrics) + "\n");
  if (++unsynced_ >= sync_every_) {
    file_.sync();
    unsynced_ = 0;
  }
}

void MetricsWriter::close() {
  file_.close();
}

std::vector<StepMetrics> read_metrics(const std::string& path) {
  const MappedFile file(path);
  std::string_view left = file.text();
  std::map<int64_t, StepMetrics> by_step;
  for (int64_t number = 1; !left.empty(); ++number) {
    const size_t newline = left.find('\n');
    const std::string_view line = left.substr(0, newline);
    const bool finished = newline != std::string_view::npos;
    left.remove_prefix(finished ? newline + 1 : left.size());
    if (line.empty() || (!finished && !is_record(line))) continue;
    const StepMetrics metrics = metrics_from_json(line, fmt::format("{}:{}", path, number));
    by_step[metrics.step] = metrics;
  }
  std::vector<StepMetrics> records;
  records.reserve(by_step.size());
  for (const auto& [step, metrics] : by_step) records.push_back(metrics);
  return records;
}

}  // namespace phalanx
