// What stands on the disk when a save does not finish.
#include <ATen/ATen.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "phalanx/checkpoint/checkpoint.h"
#include "phalanx/checkpoint/output_folder.h"
#include "phalanx/checkpoint/test_folders.h"

namespace phalanx {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::error_of;
using testing::folder_bytes;
using ::testing::HasSubstr;
using testing::whole;

void save(const std::string& folder, int64_t elements, double value = 1.0) {
  write_checkpoint(folder, {whole("w", at::full({elements}, value))}, {{"step", 1}});
}

// Files of this process stop at this size.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    handler_ = ::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit small{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &small);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    ::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  sighandler_t handler_ = SIG_DFL;
};

TEST(SaveFailure, AFileThatCannotGrowLeavesTheEarlierCheckpointAndNothingElse) {
  const TemporaryDirectory directory;
  save(directory.path() + "/step_1", 100);
  const auto before = folder_bytes(directory.path());
  for (const char* name : {"step_1", "step_2"}) {  // replacing, and beside it
    const FileSizeLimit limit(4096);
    const Error error = error_of([&] { save(directory.path() + "/" + name, 100'000, 2.0); });
    EXPECT_EQ(error.kind(), ErrorKind::kIo);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("rank_00000.safetensors"), HasSubstr(std::strerror(EFBIG))));
  }
  EXPECT_EQ(folder_bytes(directory.path()), before);
  EXPECT_THAT(names_in(directory.path()), ElementsAre("step_1"));
  CheckpointReader reader(directory.path() + "/step_1");
  EXPECT_EQ(newest_step(directory.path()), 1);
}

// A file system of 256 KiB, where this process may mount one.
class TinyDisk {
 public:
  explicit TinyDisk(std::string path) : path_(std::move(path)) {
    make_directories(path_);
    if (::mount("tmpfs", path_.c_str(), "tmpfs", 0, "size=256k") != 0) problem_ = std::strerror(errno);
  }
  ~TinyDisk() {
    if (problem_.empty()) ::umount2(path_.c_str(), MNT_DETACH);
  }
  const std::string& path() const { return path_; }
  const std::string& problem() const { return problem_; }

 private:
  std::string path_;
  std::string problem_;
};

TEST(SaveFailure, AFullDiskLeavesTheEarlierCheckpointAndNothingElse) {
  const TemporaryDirectory directory;
  const TinyDisk disk(directory.path() + "/disk");
  if (!disk.problem().empty()) GTEST_SKIP() << "cannot mount a small file system here: " << disk.problem();
  save(disk.path() + "/step_1", 1000);
  const auto before = folder_bytes(disk.path());
  const Error error = error_of([&] { save(disk.path() + "/step_2", 1'000'000); });
  EXPECT_EQ(error.kind(), ErrorKind::kIo);
  EXPECT_EQ(error.exit_code(), 4);
  EXPECT_THAT(error.what(), AllOf(HasSubstr(std::strerror(ENOSPC)), HasSubstr("free space on that disk")));
  EXPECT_EQ(folder_bytes(disk.path()), before);
  EXPECT_THAT(names_in(disk.path()), ElementsAre("step_1"));
  save(disk.path() + "/step_2", 1000);  // there is room for this one, so nothing was left behind
  EXPECT_EQ(newest_step(disk.path()), 2);
}

// Root may write everywhere, so it steps down while this lives.
class Unprivileged {
 public:
  Unprivileged() : before_(::geteuid()) { changed_ = before_ == 0 && ::seteuid(65534) == 0; }
  ~Unprivileged() {
    if (changed_ && ::seteuid(before_) != 0) ADD_FAILURE() << "cannot become root again";
  }
  bool is_root() const { return ::geteuid() == 0; }

 private:
  uid_t before_;
  bool changed_ = false;
};

TEST(SaveFailure, AFolderThatMayNotBeWrittenIsAnIoError) {
  const TemporaryDirectory directory;
  ::chmod(directory.path().c_str(), 0555);
  {
    const Unprivileged unprivileged;
    if (unprivileged.is_root()) GTEST_SKIP() << "root may write everywhere and cannot step down here";
    const Error error = error_of([&] { save(directory.path() + "/step_1", 10); });
    EXPECT_EQ(error.kind(), ErrorKind::kIo);
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr(directory.path() + "/step_1"), HasSubstr(std::strerror(EACCES))));
  }
  ::chmod(directory.path().c_str(), 0755);
  EXPECT_TRUE(names_in(directory.path()).empty());
}

TEST(SaveFailure, AFileWhereAFolderShouldBeIsAnIoErrorAndStays) {
  const TemporaryDirectory directory;
  const std::string file = directory.path() + "/taken";
  testing::write_text(file, "mine");
  for (const std::string& path : {file, file + "/step_1"}) {
    const Error error = error_of([&] { save(path, 10); });
    EXPECT_EQ(error.kind(), ErrorKind::kIo);
    EXPECT_THAT(error.what(), AllOf(HasSubstr(path), HasSubstr(std::strerror(ENOTDIR))));
  }
  EXPECT_EQ(read_file(file), "mine");
  EXPECT_THAT(names_in(directory.path()), ElementsAre("taken"));
}

// A child dies in the middle of a save, at the last moment: everything is written but the rename.
TEST(SaveFailure, WhatAKilledSaveLeavesDoesNotCountAndGoesWithTheNextSave) {
  const TemporaryDirectory directory;
  save(directory.path() + "/step_1", 10);
  const pid_t child = ::fork();
  if (child == 0) {
    OutputFolder output(directory.path() + "/step_2");
    output.add({"manifest.json", read_file(directory.path() + "/step_1/manifest.json")});
    ::_exit(0);
  }
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  const std::string left = "step_2.tmp." + std::to_string(child);
  EXPECT_THAT(names_in(directory.path()), ElementsAre("step_1", left));
  EXPECT_THAT(complete_steps(directory.path()), ElementsAre(1));

  save(directory.path() + "/step_3", 10);  // another step: not its business
  EXPECT_THAT(names_in(directory.path()), ElementsAre("step_1", left, "step_3"));
  save(directory.path() + "/step_2", 10);
  EXPECT_THAT(names_in(directory.path()), ElementsAre("step_1", "step_2", "step_3"));
}

TEST(SaveFailure, SavingAgainReplacesTheWholeFolder) {
  const TemporaryDirectory directory;
  const std::string folder = directory.path() + "/step_1";
  write_checkpoint(folder, {whole("old", at::ones({4}))}, {}, {{"note.txt", "old"}});
  save(folder + "/", 10, 3.0);  // a slash at the end means the same folder
  CheckpointReader reader(folder);
  EXPECT_FALSE(reader.contains("old"));
  EXPECT_TRUE(at::equal(reader.read_whole("w", {10}), at::full({10}, 3.0)));
  EXPECT_THAT(names_in(folder), ElementsAre("manifest.json", "rank_00000.safetensors"));
  EXPECT_THAT(names_in(directory.path()), ElementsAre("step_1"));
}

TEST(SaveFailure, ALinkIsFollowed) {
  const TemporaryDirectory directory;
  make_directories(directory.path() + "/real");
  std::filesystem::create_directory_symlink("real", directory.path() + "/link");
  save(directory.path() + "/link", 10);
  EXPECT_TRUE(std::filesystem::is_symlink(directory.path() + "/link"));
  EXPECT_TRUE(path_exists(directory.path() + "/real/manifest.json"));
}

TEST(RequireReplaceable, OnlyWhatTheCommandWritesMayBeReplacedAndOnlyWhenAsked) {
  const TemporaryDirectory directory;
  const auto is_ours = [](const std::string& name) { return name == "ours"; };
  require_replaceable(directory.path(), false, is_ours);
  require_replaceable(directory.path() + "/none", false, is_ours);
  testing::write_text(directory.path() + "/ours", "");
  const Error error = error_of([&] { require_replaceable(directory.path(), false, is_ours); });
  EXPECT_EQ(error.kind(), ErrorKind::kUsage);
  EXPECT_THAT(error.what(), AllOf(HasSubstr("got a folder with files in it"), HasSubstr("--force")));
  require_replaceable(directory.path(), true, is_ours);
  testing::write_text(directory.path() + "/thesis.tex", "");
  EXPECT_THAT(error_of([&] { require_replaceable(directory.path(), true, is_ours); }).what(),
              HasSubstr("got 'thesis.tex' in it, which this command does not write"));
}

}  // namespace
}  // namespace phalanx
