#include "phalanx/data/tokenize_parts.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/base/json.h"

namespace phalanx {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kVersion = 1;
constexpr int64_t kOwnPart = int64_t{1} << 20;      // a file of this size is a part by itself
constexpr int64_t kSharedPart = int64_t{16} << 20;  // smaller neighbours share one up to this size

std::string identity(const std::vector<TextFile>& files, const std::string& settings) {
  Json list = Json::array();
  for (const TextFile& file : files)
    list.push_back({file.path, static_cast<int>(file.format), file.size, file.modified});
  return Json{{"version", kVersion}, {"settings", settings}, {"files", list}}.dump(
      -1, ' ', false, Json::error_handler_t::replace);
}

Json counts_json(const CorpusCounts& counts) {
  Json examples = Json::array();
  for (const RejectExample& example : counts.rejected.examples)
    examples.push_back({example.where, example.what});
  Json columns = Json::array();
  for (const ColumnCounts& column : counts.columns) {
    columns.push_back(
        {column.sequences, column.documents, column.empty_documents, column.tokens, column.text_bytes});
  }
  return {{"lines", counts.lines},
          {"blank_lines", counts.blank_lines},
          {"repaired", counts.repaired},
          {"input_bytes", counts.input_bytes},
          {"unpacked_bytes", counts.unpacked_bytes},
          {"rejected", counts.rejected.by_reason},
          {"examples", examples},
          {"columns", columns}};
}

CorpusCounts counts_of(const Json& json) {
  CorpusCounts counts;
  counts.lines = json.at("lines");
  counts.blank_lines = json.at("blank_lines");
  counts.repaired = json.at("repaired");
  counts.input_bytes = json.at("input_bytes");
  counts.unpacked_bytes = json.at("unpacked_bytes");
  counts.rejected.by_reason = json.at("rejected").get<std::array<int64_t, kRejectReasons>>();
  for (const Json& example : json.at("examples"))
    counts.rejected.examples.push_back({example.at(0), example.at(1)});
  for (const Json& column : json.at("columns"))
    counts.columns.push_back({column.at(0), column.at(1), column.at(2), column.at(3), column.at(4)});
  return counts;
}

int64_t size_of(const std::string& path) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  return error ? -1 : static_cast<int64_t>(size);
}

void remove_quietly(const fs::path& path) {
  std::error_code ignored;
  fs::remove(path, ignored);
}

}  // namespace

void CorpusCounts::add(const CorpusCounts& other) {
  lines += other.lines;
  blank_lines += other.blank_lines;
  repaired += other.repaired;
  input_bytes += other.input_bytes;
  unpacked_bytes += other.unpacked_bytes;
  rejected.add(other.rejected);
  columns.resize(std::max(columns.size(), other.columns.size()));
  for (size_t k = 0; k < other.columns.size(); ++k) {
    columns[k].sequences += other.columns[k].sequences;
    columns[k].documents += other.columns[k].documents;
    columns[k].empty_documents += other.columns[k].empty_documents;
    columns[k].tokens += other.columns[k].tokens;
    columns[k].text_bytes += other.columns[k].text_bytes;
  }
}

std::vector<CorpusPart> plan_parts(const std::vector<TextFile>& files, const std::string& settings) {
  std::vector<CorpusPart> parts;
  int64_t shared = 0;  // bytes of the last part
  bool closed = true;
  for (const TextFile& file : files) {
    const bool own = file.size >= kOwnPart;
    if (closed || own || shared + file.size > kSharedPart) {
      parts.emplace_back();
      shared = 0;
    }
    parts.back().files.push_back(file);
    shared += file.size;
    closed = own;
  }
  for (CorpusPart& part : parts) {
    const std::string text = identity(part.files, settings);
    part.name = checksum_to_text(checksum_of(std::as_bytes(std::span(text))));
  }
  return parts;
}

PartFolder::PartFolder(const std::string& output_prefix, size_t num_columns, TokenDtype dtype)
    : folder_(output_prefix + "_parts"), num_columns_(num_columns), dtype_(dtype) {
  make_directories(folder_);
  lock();
  remove_temporaries(folder_ + "/", true);
}

PartFolder::~PartFolder() {
  remove_quietly(folder_ + "/lock");
  remove_quietly(folder_);  // fails unless it is empty
  ::close(lock_);
}

void PartFolder::lock() {
  const std::string path = folder_ + "/lock";
  lock_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (lock_ >= 0 && ::flock(lock_, LOCK_EX | LOCK_NB) == 0) return;
  const int error = errno;
  if (lock_ >= 0) ::close(lock_);
  if (error == EWOULDBLOCK) {
    throw Error(ErrorKind::kBadInput, {.where = folder_,
                                       .got = "another process that is writing this output",
                                       .needed = "an output prefix of one's own",
                                       .fix = "wait for it, or change --output-prefix"});
  }
  throw Error(ErrorKind::kIo, {.where = path,
                               .got = fmt::format("create failed: {}", std::strerror(error)),
                               .needed = "a folder that can be written",
                               .fix = "check its permissions and the space on that disk"});
}

std::string PartFolder::prefix(const CorpusPart& part, size_t column) const {
  return fmt::format("{}/{}_{}", folder_, part.name, column);
}

bool PartFolder::pair_is_whole(const CorpusPart& part, size_t column, const ColumnCounts& counts) const {
  const std::string path = prefix(part, column);
  return size_of(path + ".bin") == counts.tokens * token_dtype_size(dtype_) &&
         size_of(path + ".idx") == 34 + 12 * counts.sequences + 8 * (counts.documents + 1);
}

std::optional<FinishedPart> PartFolder::find(const CorpusPart& part) const {
  const std::string path = fmt::format("{}/{}.json", folder_, part.name);
  if (!path_exists(path)) return std::nullopt;
  FinishedPart out;
  try {
    const Json json = read_json_file(path);
    out.counts = counts_of(json.at("counts"));
    for (const Json& sums : json.at("checksums")) out.checksums.push_back({sums.at(0), sums.at(1)});
  } catch (const std::exception&) {
    return std::nullopt;  // of another version, or damaged: the part is made again
  }
  if (out.counts.columns.size() != num_columns_ || out.checksums.size() != num_columns_) return std::nullopt;
  for (size_t k = 0; k < num_columns_; ++k) {
    if (!pair_is_whole(part, k, out.counts.columns[k])) return std::nullopt;
  }
  return out;
}

void PartFolder::record(const CorpusPart& part, const FinishedPart& finished) const {
  Json sums = Json::array();
  for (const PairChecksums& pair : finished.checksums) sums.push_back({pair.bin, pair.idx});
  const Json json = {{"version", kVersion}, {"counts", counts_json(finished.counts)}, {"checksums", sums}};
  write_file_atomic(fmt::format("{}/{}.json", folder_, part.name),
                    json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n");
}

void PartFolder::remove_parts() const {
  std::error_code ignored;
  // What says that a part is finished goes first: a stop half way must leave no part that only looks so.
  for (const char* extension : {".json", ".bin", ".idx"}) {
    for (const auto& entry : fs::directory_iterator(folder_, ignored)) {
      if (entry.path().extension() == extension) remove_quietly(entry.path());
    }
  }
}

void remove_temporaries(const std::string& prefix, bool all) {
  static constexpr std::string_view kMark = ".tmp.";
  std::error_code ignored;
  const fs::path path = fs::absolute(prefix);
  const std::string begin = path.filename().string();
  for (const auto& entry : fs::directory_iterator(path.parent_path(), ignored)) {
    const std::string name = entry.path().filename().string();
    const size_t mark = name.rfind(kMark);
    if (!name.starts_with(begin) || mark == std::string::npos || mark + 1 < begin.size()) continue;
    const std::string process = name.substr(mark + kMark.size());
    if (process.empty() || process.find_first_not_of("0123456789") != std::string::npos) continue;
    if (all || !path_exists("/proc/" + process)) remove_quietly(entry.path());
  }
}

}  // namespace phalanx
