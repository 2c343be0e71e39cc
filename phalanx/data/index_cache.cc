#include "phalanx/data/index_cache.h"

#include <array>
#include <cstring>
#include <memory>

#include <fmt/format.h>

#include "phalanx/base/fs.h"
#include "phalanx/base/log.h"
#include "phalanx/shard/checksum.h"

namespace phalanx {
namespace {

constexpr std::string_view kMagic = "PHLXIDX1";
constexpr uint64_t kVersion = 1;
constexpr uint64_t kAlignment = 64;
constexpr uint64_t kMaxParts = 64;

struct Header {
  std::array<char, 8> magic;
  uint64_t version;
  uint64_t checksum;  // of what follows it
  uint64_t file_bytes;
  uint64_t key_bytes;
  uint64_t parts;
};
constexpr uint64_t kCheckedFrom = offsetof(Header, file_bytes);

uint64_t aligned(uint64_t offset) {
  return (offset + kAlignment - 1) / kAlignment * kAlignment;
}

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// Of the header behind the checksum, the sizes, the key, and each array; what fills the gaps means nothing.
uint64_t checksum_of_file(std::span<const std::byte> head,
                          std::span<const std::span<const std::byte>> parts) {
  Checksum sum;
  sum.update(head.subspan(kCheckedFrom));
  for (const std::span<const std::byte> part : parts) sum.update(part);
  return sum.digest();
}

// What stands before the arrays, and zeros up to the first one.
std::vector<std::byte> head_of(const std::string& key, std::span<const std::span<const std::byte>> parts) {
  Header header{.magic = {},
                .version = kVersion,
                .checksum = 0,
                .file_bytes = 0,
                .key_bytes = key.size(),
                .parts = parts.size()};
  std::memcpy(header.magic.data(), kMagic.data(), kMagic.size());
  std::vector<std::byte> head(aligned(sizeof(Header) + 8 * parts.size() + key.size()));
  header.file_bytes = head.size();
  for (size_t i = 0; i < parts.size(); ++i) {
    const uint64_t size = parts[i].size();
    std::memcpy(head.data() + sizeof(Header) + 8 * i, &size, 8);
    header.file_bytes += aligned(size);
  }
  std::memcpy(head.data() + sizeof(Header) + 8 * parts.size(), key.data(), key.size());
  std::memcpy(head.data(), &header, sizeof(Header));
  header.checksum = checksum_of_file(head, parts);
  std::memcpy(head.data(), &header, sizeof(Header));
  return head;
}

// Why a file may not be used, or "" and its arrays.
std::string read_parts(std::span<const std::byte> bytes, const std::string& key,
                       std::vector<std::span<const std::byte>>& parts) {
  Header header{};
  if (bytes.size() < sizeof(Header)) return fmt::format("{} bytes are no whole file", bytes.size());
  std::memcpy(&header, bytes.data(), sizeof(Header));
  if (std::memcmp(header.magic.data(), kMagic.data(), kMagic.size()) != 0) return "it is of another kind";
  if (header.version != kVersion)
    return fmt::format("it has version {}, this program reads {}", header.version, kVersion);
  if (header.file_bytes != bytes.size())
    return fmt::format("it has {} of {} bytes", bytes.size(), header.file_bytes);
  const std::string damaged = "it is damaged";
  const uint64_t room = bytes.size() - sizeof(Header);
  if (header.parts > kMaxParts || header.parts * 8 > room || header.key_bytes > room - header.parts * 8)
    return damaged;
  const uint64_t key_at = sizeof(Header) + header.parts * 8;
  uint64_t at = aligned(key_at + header.key_bytes);
  if (at > bytes.size()) return damaged;
  const std::span<const std::byte> head = bytes.first(at);
  for (uint64_t i = 0; i < header.parts; ++i) {
    uint64_t size = 0;
    std::memcpy(&size, bytes.data() + sizeof(Header) + 8 * i, 8);
    if (size > bytes.size() - at || aligned(size) > bytes.size() - at) return damaged;
    parts.push_back(bytes.subspan(at, size));
    at += aligned(size);
  }
  if (checksum_of_file(head, parts) != header.checksum) return damaged;
  const std::string_view kept(reinterpret_cast<const char*>(bytes.data()) + key_at, header.key_bytes);
  return kept == key ? "" : "it belongs to other data or settings";
}

}  // namespace

std::string IndexCache::path_of(const std::string& kind, const std::string& key) const {
  return fmt::format("{}/{}-{:016x}.index", options_.folder, kind, checksum_of(bytes_of(key)));
}

void IndexCache::say_once(const std::string& message) const {
  if (!said_.exchange(true)) log_warning(message);
}

std::optional<IndexCache::Parts> IndexCache::find(const std::string& kind, const std::string& key) const {
  if (!active()) return std::nullopt;
  const std::string path = path_of(kind, key);
  if (!path_exists(path)) {
    if (!options_.writes) {
      say_once(fmt::format(
          "{} does not show what the first rank wrote: this rank builds the order of samples in memory",
          options_.folder));
    }
    return std::nullopt;
  }
  try {
    const auto file = std::make_shared<MappedFile>(path);
    std::vector<std::span<const std::byte>> spans;
    const std::string fault = read_parts(file->bytes(), key, spans);
    if (fault.empty()) {
      Parts parts;
      for (const std::span<const std::byte> span : spans) parts.emplace_back(file, span);
      return parts;
    }
    log_warning(fmt::format("{} is not used: {}; the order of samples is built again", path, fault));
  } catch (const Error& e) {
    say_once(fmt::format("the order of samples is built in memory: {}", e.what()));
  }
  return std::nullopt;
}

std::optional<IndexCache::Parts> IndexCache::keep(
    const std::string& kind, const std::string& key,
    const std::vector<std::span<const std::byte>>& parts) const {
  if (!active() || !options_.writes) return std::nullopt;
  const std::lock_guard lock(writing_);
  try {
    make_directories(options_.folder);
    AtomicFile file(path_of(kind, key));
    const std::vector<std::byte> head = head_of(key, parts);
    file.write(head.data(), head.size());
    constexpr std::array<std::byte, kAlignment> kZeros{};
    for (const std::span<const std::byte> part : parts) {
      file.write(part.data(), part.size());
      file.write(kZeros.data(), aligned(part.size()) - part.size());
    }
    file.commit();
  } catch (const Error& e) {
    say_once(fmt::format("the order of samples stays in memory, each rank builds its own: {}", e.what()));
    return std::nullopt;
  }
  return find(kind, key);
}

}  // namespace phalanx
