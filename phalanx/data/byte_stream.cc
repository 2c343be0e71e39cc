#include "phalanx/data/byte_stream.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

constexpr size_t kBufferSize = size_t{1} << 18;

[[noreturn]] void throw_io(const std::string& path, const char* action, int error) {
  throw Error(ErrorKind::kIo, {.where = path,
                               .got = fmt::format("{} failed: {}", action, std::strerror(error)),
                               .needed = "a file that can be read",
                               .fix = "check that the path names a file and that you may read it"});
}

// The file itself; the first bytes can be looked at before they are read.
class RawFile final : public ByteStream {
 public:
  explicit RawFile(const std::string& path) : path_(path) {
    fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd_ < 0) throw_io(path, "open", errno);
    struct stat info {};
    if (::fstat(fd_, &info) != 0 || S_ISDIR(info.st_mode)) {
      const int error = S_ISDIR(info.st_mode) ? EISDIR : errno;
      ::close(fd_);
      throw_io(path, "read", error);
    }
    ::posix_fadvise(fd_, 0, 0, POSIX_FADV_SEQUENTIAL);
  }
  ~RawFile() override { ::close(fd_); }

  size_t read(char* out, size_t size) override {
    const size_t ready = std::min(size, head_.size());
    std::memcpy(out, head_.data(), ready);
    head_.erase(0, ready);
    const size_t n = ready + read_more(out + ready, size - ready);
    consumed_ += n;
    return n;
  }
  uint64_t consumed() const override { return consumed_; }

  std::string_view peek(size_t size) {
    const size_t old = head_.size();
    if (old < size) {
      head_.resize(size);
      head_.resize(old + read_more(head_.data() + old, size - old));
    }
    return head_;
  }
  const std::string& path() const { return path_; }

 private:
  size_t read_more(char* out, size_t size) {
    size_t got = 0;
    while (got < size) {
      const ssize_t n = ::read(fd_, out + got, size - got);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) throw_io(path_, "read", errno);
      if (n == 0) break;
      got += static_cast<size_t>(n);
    }
    return got;
  }

  std::string path_;
  std::string head_;
  int fd_ = -1;
  uint64_t consumed_ = 0;
};

[[noreturn]] void throw_damaged(const RawFile& file, const char* packing, const std::string& got) {
  throw Error(ErrorKind::kBadInput, {.where = file.path(),
                                     .got = fmt::format("{} near byte {}", got, file.consumed()),
                                     .needed = fmt::format("whole {} data", packing),
                                     .fix = "the file is cut short or damaged; fetch it again"});
}

class GzipStream final : public ByteStream {
 public:
  explicit GzipStream(std::unique_ptr<RawFile> file) : file_(std::move(file)), buffer_(kBufferSize) {
    // 16: a gzip header is needed, so that bytes after the last member are no data.
    PHALANX_CHECK(::inflateInit2(&state_, 15 + 16) == Z_OK, "zlib does not start");
  }
  ~GzipStream() override { ::inflateEnd(&state_); }

  size_t read(char* out, size_t size) override {
    size_t got = 0;
    while (got < size && !ended_) {
      if (state_.avail_in == 0 && !refill()) break;
      if (between_members_ && !begin_member()) break;
      const auto room = static_cast<uInt>(std::min<size_t>(size - got, size_t{1} << 30));
      state_.next_out = reinterpret_cast<Bytef*>(out + got);
      state_.avail_out = room;
      const int result = ::inflate(&state_, Z_NO_FLUSH);
      got += room - state_.avail_out;
      if (result == Z_STREAM_END) {
        ::inflateReset(&state_);
        between_members_ = true;
      } else if (result != Z_OK && result != Z_BUF_ERROR) {
        throw_damaged(*file_, "gzip", state_.msg == nullptr ? "damaged gzip data" : state_.msg);
      }
    }
    return got;
  }
  uint64_t consumed() const override { return file_->consumed() - state_.avail_in; }

 private:
  bool refill() {
    const size_t n = file_->read(buffer_.data(), buffer_.size());
    state_.next_in = reinterpret_cast<Bytef*>(buffer_.data());
    state_.avail_in = static_cast<uInt>(n);
    if (n > 0) return true;
    if (!between_members_) throw_damaged(*file_, "gzip", "the end of the file inside gzip data");
    ended_ = true;
    return false;
  }

  // Zeros after a member are padding (tapes); anything else must be the next member.
  bool begin_member() {
    while (state_.avail_in > 0 && *state_.next_in == 0 && members_ > 0) {
      ++state_.next_in;
      --state_.avail_in;
    }
    if (state_.avail_in == 0) return refill() && begin_member();
    ++members_;
    between_members_ = false;
    return true;
  }

  std::unique_ptr<RawFile> file_;
  std::vector<char> buffer_;
  z_stream state_{};
  int64_t members_ = 0;
  bool between_members_ = true;
  bool ended_ = false;
};

class ZstdStream final : public ByteStream {
 public:
  explicit ZstdStream(std::unique_ptr<RawFile> file)
      : file_(std::move(file)), buffer_(kBufferSize), state_(::ZSTD_createDStream()) {
    PHALANX_CHECK(state_ != nullptr, "zstd does not start");
  }
  ~ZstdStream() override { ::ZSTD_freeDStream(state_); }

  size_t read(char* out, size_t size) override {
    ZSTD_outBuffer target{out, size, 0};
    while (target.pos < size) {
      if (input_.pos == input_.size && !ended_) {
        input_ = {buffer_.data(), file_->read(buffer_.data(), buffer_.size()), 0};
        ended_ = input_.size == 0;
      }
      // Inside a frame a step without input still hands out what a full output held back.
      if (ended_ && !in_frame_) break;
      const size_t before = target.pos;
      step(target);
      if (ended_ && in_frame_ && target.pos == before)
        throw_damaged(*file_, "zstd", "the end of the file inside a zstd frame");
    }
    return target.pos;
  }
  uint64_t consumed() const override { return file_->consumed() - (input_.size - input_.pos); }

 private:
  void step(ZSTD_outBuffer& target) {
    const size_t result = ::ZSTD_decompressStream(state_, &target, &input_);
    if (::ZSTD_isError(result)) throw_damaged(*file_, "zstd", ::ZSTD_getErrorName(result));
    in_frame_ = result != 0;
  }

  std::unique_ptr<RawFile> file_;
  std::vector<char> buffer_;
  ZSTD_DStream* state_;
  ZSTD_inBuffer input_{nullptr, 0, 0};
  bool in_frame_ = false;
  bool ended_ = false;  // nothing more in the file
};

bool is_zstd(std::string_view head) {
  if (head.size() < 4) return false;
  uint32_t magic = 0;
  std::memcpy(&magic, head.data(), 4);
  return magic == 0xFD2FB528u || (magic & 0xFFFFFFF0u) == 0x184D2A50u;  // a frame, or one to skip
}

}  // namespace

std::unique_ptr<ByteStream> open_byte_stream(const std::string& path) {
  auto file = std::make_unique<RawFile>(path);
  const std::string_view head = file->peek(4);
  if (head.starts_with("\x1f\x8b")) return std::make_unique<GzipStream>(std::move(file));
  if (is_zstd(head)) return std::make_unique<ZstdStream>(std::move(file));
  return file;
}

std::unique_ptr<ByteStream> open_raw_stream(const std::string& path) {
  return std::make_unique<RawFile>(path);
}

}  // namespace phalanx
