#include "phalanx/telemetry/append_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include "phalanx/base/fs.h"
#include "phalanx/telemetry/test_errors.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;

TEST(AppendFile, ModesKeepReplaceOrRefuseAnEarlierFile) {
  const TemporaryDirectory folder;
  const std::string path = folder.path() + "/f";
  write_file_atomic(path, "old ");
  {
    AppendFile file(path, OpenMode::kAppend);
    EXPECT_EQ(file.size(), 4u);
    file.append("new");
    EXPECT_EQ(file.size(), 7u);
    EXPECT_EQ(read_file(path), "old new");  // visible before the close
    file.close();
    EXPECT_FALSE(file.is_open());
    file.close();
  }
  EXPECT_THAT(error_of([&] { AppendFile(path, OpenMode::kCreateNew); }).what(), HasSubstr("File exists"));
  EXPECT_EQ(read_file(path), "old new");
  AppendFile(path, OpenMode::kReplace).append("x");
  EXPECT_EQ(read_file(path), "x");
}

TEST(AppendFile, ErrorsNameThePathAndTheFix) {
  const TemporaryDirectory folder;
  const Error missing = error_of([&] { AppendFile(folder.path() + "/no/f", OpenMode::kAppend); });
  EXPECT_EQ(missing.kind(), ErrorKind::kIo);
  EXPECT_EQ(std::string(missing.what()),
            folder.path() +
                "/no/f: got open failed: No such file or directory. Fix: check that the folder exists and "
                "that you may write there");
  EXPECT_THAT(error_of([&] { AppendFile(folder.path(), OpenMode::kAppend); }).what(),
              HasSubstr("Is a directory"));
}

TEST(AppendFile, FullDiskIsAnErrorWithItsFix) {
  AppendFile file("/dev/full", OpenMode::kAppend);
  const Error full = error_of([&] { file.append("x"); });
  EXPECT_EQ(full.kind(), ErrorKind::kIo);
  EXPECT_STREQ(
      full.what(),
      "/dev/full: got write failed: No space left on device. Fix: free space on that disk or choose another "
      "folder");
}

// A limit on the file size makes the system take only a part of a record, as a disk that fills up does.
TEST(AppendFile, APartlyWrittenRecordIsCutOffAgain) {
  const TemporaryDirectory folder;
  const std::string path = folder.path() + "/f";
  AppendFile file(path, OpenMode::kAppend);
  file.append("12345678\n");
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  struct rlimit small = before;
  small.rlim_cur = 12;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const Error error = error_of([&] { file.append("abcdefgh\n"); });
  ::setrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, handler);
  EXPECT_EQ(error.kind(), ErrorKind::kIo);
  EXPECT_THAT(error.what(), HasSubstr("write failed: File too large"));
  EXPECT_EQ(read_file(path), "12345678\n");
  file.append("next\n");
  EXPECT_EQ(read_file(path), "12345678\nnext\n");
}

}  // namespace
}  // namespace phalanx
