#include "phalanx/checkpoint/output_folder.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"

namespace phalanx {
namespace {

namespace fs = std::filesystem;

constexpr const char* kMark = ".tmp.";

[[noreturn]] void throw_io(const std::string& path, const std::string& action, int error) {
  const char* fix = error == ENOSPC ? "free space on that disk or choose another folder"
                                    : "check that the path exists and that you may write there";
  throw Error(ErrorKind::kIo,
              {.where = path, .got = action + " failed: " + std::strerror(error), .fix = fix});
}

// Absolute, links followed, no slash at the end: the temporary name is made by appending to it.
std::string clean_path(const std::string& path) {
  std::error_code error;
  fs::path absolute = fs::absolute(path, error);
  if (!error) absolute = fs::weakly_canonical(absolute, error);
  std::string clean = absolute.string();
  if (error) throw_io(path, "resolving the path", error.value());
  while (clean.size() > 1 && clean.back() == '/') clean.pop_back();
  return clean;
}

bool process_is_gone(const std::string& digits) {
  if (digits.empty() || digits.size() > 9 || digits.find_first_not_of("0123456789") != std::string::npos)
    return false;
  const auto pid = static_cast<pid_t>(std::stol(digits));
  return pid != ::getpid() && ::kill(pid, 0) != 0 && errno == ESRCH;
}

// Only one process at a time writes a folder, so a temporary one of a process that is gone is what a crash left.
void remove_leftovers(const std::string& final_path) {
  const fs::path path(final_path);
  const std::string prefix = path.filename().string() + kMark;
  for (const std::string& name : names_in(path.parent_path().string())) {
    if (!name.starts_with(prefix) || !process_is_gone(name.substr(prefix.size()))) continue;
    std::error_code ignored;
    fs::remove_all(path.parent_path() / name, ignored);
  }
}

}  // namespace

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

void require_replaceable(const std::string& folder, bool overwrite,
                         const std::function<bool(const std::string& name)>& is_ours) {
  const std::vector<std::string> names = names_in(folder);
  if (names.empty()) return;
  const auto foreign = std::find_if_not(names.begin(), names.end(), is_ours);
  if (overwrite && foreign == names.end()) return;
  throw Error(ErrorKind::kUsage,
              {.where = folder,
               .got = overwrite ? "'" + *foreign + "' in it, which this command does not write"
                                : "a folder with files in it",
               .needed = overwrite ? "only files of an earlier call" : "an empty folder, or none",
               .fix = overwrite ? "choose another folder, or remove it yourself"
                                : "choose another folder, or add --force to replace it"});
}

OutputFolder::OutputFolder(const std::string& final_path)
    : final_(clean_path(final_path)), temporary_(final_ + kMark + std::to_string(::getpid())) {
  std::error_code error;
  fs::remove_all(temporary_, error);
  remove_leftovers(final_);
  if (fs::exists(final_, error) && !fs::is_directory(final_, error))
    throw_io(final_, "create folder", ENOTDIR);
  fs::create_directories(temporary_, error);
  if (error) throw_io(final_, "create folder", error.value());
}

OutputFolder::~OutputFolder() {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
}

void OutputFolder::add(const ExtraFile& file) {
  const fs::path path = fs::path(temporary_) / file.name;
  make_directories(path.parent_path().string());
  write_file_atomic(path.string(), file.bytes);
}

void OutputFolder::publish() {
  sync_directory(temporary_);
  std::error_code error;
  if (fs::exists(final_, error)) {
    replace_existing();
  } else {
    fs::rename(temporary_, final_, error);
    if (error) throw_io(final_, "rename", error.value());
  }
  sync_directory(fs::path(final_).parent_path().string());
  fs::remove_all(temporary_, error);  // after a swap: what stood there before
  temporary_.clear();
}

void OutputFolder::replace_existing() {
  if (::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, final_.c_str(), RENAME_EXCHANGE) == 0) return;
  if (errno != EINVAL && errno != ENOSYS) throw_io(final_, "rename", errno);
  // A file system that cannot swap: the old folder steps aside and comes back if the new one cannot take its place.
  const std::string aside = temporary_ + ".old";
  std::error_code error;
  fs::rename(final_, aside, error);
  if (error) throw_io(final_, "rename", error.value());
  fs::rename(temporary_, final_, error);
  if (error) {
    const int code = error.value();
    fs::rename(aside, final_, error);
    throw_io(final_, "rename", code);
  }
  fs::remove_all(aside, error);
}

}  // namespace phalanx
