#include "phalanx/data/text_source.h"

#include <glob.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/data/byte_stream.h"
#include "phalanx/data/jsonl_reader.h"

namespace phalanx {
namespace {

namespace fs = std::filesystem;

// Most files tell by their first characters that they are no JSON.
constexpr size_t kGlance = 512;
constexpr size_t kSniffSize = size_t{1} << 20;

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

// ".jsonl" of "a.jsonl.gz".
std::string text_extension(const std::string& path) {
  fs::path name = fs::path(lower(path)).filename();
  if (name.extension() == ".gz" || name.extension() == ".zst") name = name.stem();
  return name.extension().string();
}

TextFormat format_of_content(const std::string& path) {
  const auto stream = open_byte_stream(path);
  std::string head(kGlance, '\0');
  head.resize(stream->read(head.data(), head.size()));
  const size_t begin = head.find_first_not_of(" \t\r\n");
  if (begin == std::string::npos || head[begin] != '{') return TextFormat::kDocument;
  if (head.size() == kGlance) {
    head.resize(kSniffSize);
    head.resize(kGlance + stream->read(head.data() + kGlance, kSniffSize - kGlance));
  }
  const size_t end = head.find('\n', begin);
  // A first line that is longer than what was read is one JSON object or one odd text; JSON is likelier.
  if (end == std::string::npos && head.size() == kSniffSize) return TextFormat::kJsonLines;
  const std::string line = head.substr(begin, std::min(end, head.size()) - begin);
  return is_json_object(line) ? TextFormat::kJsonLines : TextFormat::kDocument;
}

TextFormat format_of(const std::string& path) {
  static constexpr std::array<std::string_view, 3> kLines = {".jsonl", ".ndjson", ".json"};
  static constexpr std::array<std::string_view, 5> kDocuments = {".txt", ".text", ".md", ".rst", ".html"};
  const std::string extension = text_extension(path);
  if (std::find(kLines.begin(), kLines.end(), extension) != kLines.end()) return TextFormat::kJsonLines;
  if (std::find(kDocuments.begin(), kDocuments.end(), extension) != kDocuments.end())
    return TextFormat::kDocument;
  return format_of_content(path);
}

[[noreturn]] void fail(ErrorKind kind, const std::string& where, const std::string& got,
                       const std::string& needed, const std::string& fix) {
  throw Error(kind, {.where = where, .got = got, .needed = needed, .fix = fix});
}

std::vector<std::string> files_below(const std::string& folder, const std::set<std::string>& skip) {
  std::vector<std::string> found;
  std::error_code error;
  auto it = fs::recursive_directory_iterator(folder, error);
  for (; !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
    const fs::path& path = it->path();
    if (path.filename().string().starts_with('.') || skip.contains(normal_path(path.string()))) {
      if (it->is_directory()) it.disable_recursion_pending();
    } else if (it->is_regular_file()) {
      found.push_back(path.string());
    }
  }
  if (error)
    fail(ErrorKind::kIo, folder, error.message(), "a folder that can be read", "check its permissions");
  if (found.empty())
    fail(ErrorKind::kBadInput, folder, "a folder without files", "at least one text file in it",
         "name the folder that holds the texts (hidden files do not count)");
  std::sort(found.begin(), found.end());  // the file system's order is nobody's order
  return found;
}

std::vector<std::string> matches_of(const std::string& pattern) {
  glob_t result{};
  const int code = ::glob(pattern.c_str(), 0, nullptr, &result);
  std::vector<std::string> found;
  if (code == 0) found.assign(result.gl_pathv, result.gl_pathv + result.gl_pathc);
  ::globfree(&result);
  return found;
}

}  // namespace

std::string normal_path(const std::string& path) {
  std::error_code error;
  const fs::path resolved = fs::weakly_canonical(fs::absolute(path), error);
  return error ? path : resolved.string();
}

TextFile stat_text_file(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    fail(ErrorKind::kIo, path, std::strerror(errno), "a text file or a folder of them", "check the path");
  }
  if (!S_ISREG(info.st_mode)) {
    fail(ErrorKind::kBadInput, path, "neither a file nor a folder",
         "a file that can be read again after a stop", "write the text to a file first");
  }
  const int64_t modified = static_cast<int64_t>(info.st_mtim.tv_sec) * 1'000'000'000 + info.st_mtim.tv_nsec;
  return {.path = path, .size = static_cast<int64_t>(info.st_size), .modified = modified};
}

std::vector<TextFile> list_text_files(const std::vector<std::string>& inputs, TextFormat format,
                                      const std::set<std::string>& skip) {
  std::vector<std::string> paths;
  const auto add = [&](const std::string& input) {
    std::error_code ignored;
    if (fs::is_directory(input, ignored)) {
      for (std::string& path : files_below(input, skip)) paths.push_back(std::move(path));
    } else {
      paths.push_back(input);
    }
  };
  for (const std::string& input : inputs) {
    const bool pattern = input.find_first_of("*?[") != std::string::npos && !path_exists(input);
    const std::vector<std::string> matches = pattern ? matches_of(input) : std::vector<std::string>{input};
    if (matches.empty())
      fail(ErrorKind::kIo, input, "no file of that pattern", "a pattern that matches", "check the pattern");
    for (const std::string& match : matches) add(match);
  }
  std::vector<TextFile> files;
  for (const std::string& path : paths) {
    files.push_back(stat_text_file(path));
    files.back().format = format == TextFormat::kAuto ? format_of(path) : format;
  }
  return files;
}

}  // namespace phalanx
