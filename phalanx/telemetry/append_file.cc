#include "phalanx/telemetry/append_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

[[noreturn]] void throw_io(const std::string& path, const std::string& action, int error) {
  std::string fix = "check that the folder exists and that you may write there";
  if (error == ENOSPC || error == EDQUOT) fix = "free space on that disk or choose another folder";
  throw Error(ErrorKind::kIo,
              {.where = path, .got = action + " failed: " + std::strerror(error), .fix = fix});
}

int flags_of(OpenMode mode) {
  const int common = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC;
  if (mode == OpenMode::kReplace) return common | O_TRUNC;
  if (mode == OpenMode::kCreateNew) return common | O_EXCL;
  return common;
}

}  // namespace

AppendFile::AppendFile(std::string path, OpenMode mode) : path_(std::move(path)) {
  fd_ = ::open(path_.c_str(), flags_of(mode), 0644);
  if (fd_ < 0) throw_io(path_, "open", errno);
  struct stat info {};
  if (::fstat(fd_, &info) == 0 && S_ISREG(info.st_mode)) size_ = static_cast<uint64_t>(info.st_size);
}

AppendFile::~AppendFile() {
  if (fd_ >= 0) ::close(fd_);
}

void AppendFile::append(std::string_view record) {
  PHALANX_CHECK(fd_ >= 0, "append to a closed file: " + path_);
  std::string_view left = record;
  while (!left.empty()) {
    const ssize_t n = ::write(fd_, left.data(), left.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int error = errno;
      // A failure to cut leaves a torn last record, which every reader of these files tolerates.
      if (left.size() < record.size() && ::ftruncate(fd_, static_cast<off_t>(size_)) != 0) errno = error;
      throw_io(path_, "write", error);
    }
    left.remove_prefix(static_cast<size_t>(n));
  }
  size_ += record.size();
}

void AppendFile::sync() {
  PHALANX_CHECK(fd_ >= 0, "sync of a closed file: " + path_);
  // Pipes and devices cannot be synced and need not be.
  if (::fsync(fd_) != 0 && errno != EINVAL && errno != EROFS) throw_io(path_, "sync", errno);
}

void AppendFile::close() {
  if (fd_ < 0) return;
  sync();
  const int closed = ::close(std::exchange(fd_, -1));
  if (closed != 0) throw_io(path_, "close", errno);
}

}  // namespace phalanx
