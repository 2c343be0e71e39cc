// File: phalanx/base/fs.h
//
// Purpose: files. Whole-file read, atomic write (temporary name, fsync, rename, fsync of the folder), read-only maps.
// Contract: every failure is Error(kIo) with the path and the system's words; a failed write leaves an earlier file
//   of that name intact and no temporary behind. MappedFile is movable; its bytes stay valid while it lives.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace phalanx {

std::string read_file(const std::string& path);
void write_file_atomic(const std::string& path, std::string_view bytes);

// A file that appears under `path` only when commit() succeeds; the destructor removes what was not committed.
class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  void write(const void* data, size_t size);
  uint64_t size() const { return size_; }
  void commit();

 private:
  void discard();
  std::string path_;
  std::string temporary_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

class MappedFile {
 public:
  MappedFile() = default;
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

bool path_exists(const std::string& path);
void make_directories(const std::string& path);
void sync_directory(const std::string& path);

// Held by one process at a time: Error(kBadInput) naming `folder` when another one holds it. Ends with the object, and
// with the process. Leaves the empty file FOLDER/.lock.
class FolderLock {
 public:
  explicit FolderLock(const std::string& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int fd_ = -1;
};

// A folder that is removed with its content when it goes out of scope. For tests.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace phalanx
