#include "phalanx/data/publish_pair.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include <fmt/format.h>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

// False where the file system has no links.
bool link_file(const std::string& from, const std::string& to) {
  const std::string temporary = fmt::format("{}.tmp.{}", to, ::getpid());
  ::unlink(temporary.c_str());
  if (::link(from.c_str(), temporary.c_str()) != 0) return false;
  if (::rename(temporary.c_str(), to.c_str()) == 0) {
    // Where `to` is that very file already (an earlier run was stopped here), rename leaves the other name in place.
    ::unlink(temporary.c_str());
    return true;
  }
  const int error = errno;
  ::unlink(temporary.c_str());
  throw Error(ErrorKind::kIo, {.where = to,
                               .got = fmt::format("rename failed: {}", std::strerror(error)),
                               .needed = "a name that can be replaced",
                               .fix = "check the permissions of its folder"});
}

bool link_pair(const std::string& from, const std::string& to) {
  remove_index(to);
  if (!link_file(from + ".bin", to + ".bin") || !link_file(from + ".idx", to + ".idx")) return false;
  sync_directory(std::filesystem::path(to).parent_path().string());
  return true;
}

}  // namespace

PairChecksums publish_pair(std::span<const PartPair> parts, TokenDtype dtype, const std::string& prefix) {
  if (parts.size() == 1 && link_pair(parts[0].prefix, prefix)) return parts[0].checksums;
  IndexedDatasetWriter writer(prefix, dtype);
  for (const PartPair& part : parts) {
    if (part.sequences > 0) {
      writer.append(IndexedDataset(part.prefix));
    } else {  // an index without a sequence is no data set, but empty documents count
      for (int64_t d = 0; d < part.documents; ++d) writer.end_document();
    }
  }
  return writer.commit();
}

}  // namespace phalanx
