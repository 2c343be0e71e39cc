// File: phalanx/telemetry/append_file.h
//
// Purpose: a file that grows record by record while a run lives: metrics.jsonl, TensorBoard events, traces.
// Contract: append() hands the whole record to the system at once, so a killed process loses nothing that was
//   appended; when the system takes only a part (disk full), that part is cut off again and the call throws,
//   so the file always ends on a record. sync() makes it survive a power cut. The destructor closes and
//   ignores errors: call close() to see them. Not thread-safe.
// Errors: every failure is Error(kIo) with the path and the system's words.
// See: phalanx/base/fs.h for files that appear as a whole.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace phalanx {

enum class OpenMode { kAppend, kReplace, kCreateNew };

class AppendFile {
 public:
  AppendFile(std::string path, OpenMode mode);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  void append(std::string_view record);
  void sync();
  void close();  // syncs first; a second call does nothing
  bool is_open() const { return fd_ >= 0; }
  const std::string& path() const { return path_; }
  uint64_t size() const { return size_; }  // bytes in the file

 private:
  std::string path_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

}  // namespace phalanx
