// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/unchanged_files.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/message_of.h"
#include "tests/turbomind_fixture.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

class UnchangedFilesTest : public testing::Test {
 protected:
  UnchangedFilesTest() {
    fixture::write_file(first_, "first");
    fixture::write_file(second_, "second");
    // Long ago, so that what happens now is another time on every file system.
    const timespec times[2] = {{1'000'000'000, 5}, {1'000'000'000, 5}};
    for (const fs::path& file : {first_, second_}) utimensat(AT_FDCWD, file.c_str(), times, 0);
    files_.add({first_, second_});
  }
  std::string complaint() const {
    return message_of([&] { files_.check(); });
  }

  const fixture::TemporaryFolder folder_;
  const fs::path first_ = folder_.path() / "first", second_ = folder_.path() / "second";
  UnchangedFiles files_;
};

TEST_F(UnchangedFilesTest, SayNothingWhereNothingWasWritten) {
  fs::permissions(first_, fs::perms::owner_read);
  create_hard_link(first_, folder_.path() / "backup");
  EXPECT_HOLDS("nothing was thrown", complaint());
}

TEST_F(UnchangedFilesTest, NameAFileThatWasWrittenOver) {
  fixture::write_file(second_, "Second");
  EXPECT_HOLDS("second: was changed while it was read", complaint());
}

TEST_F(UnchangedFilesTest, NameAFileThatHasTheTimeOfBeforeButAnotherSize) {
  const auto time = last_write_time(first_);
  fs::resize_file(first_, 3);
  last_write_time(first_, time);
  EXPECT_HOLDS("first: was changed", complaint());
}

TEST_F(UnchangedFilesTest, NameAFileInWhosePlaceIsAnother) {
  const fs::path other = folder_.path() / "other";
  copy(first_, other);
  rename(other, first_);
  EXPECT_HOLDS("first: was changed", complaint());
}

// As `cp -p` makes it, or a file system of a network that numbers its files anew.
TEST_F(UnchangedFilesTest, TakeAFileOfTheSameSizeAndTimeForTheSame) {
  const fs::path other = folder_.path() / "other";
  copy(first_, other);
  last_write_time(other, last_write_time(first_));
  rename(other, first_);
  EXPECT_HOLDS("nothing was thrown", complaint());
}

TEST_F(UnchangedFilesTest, NameAFileThatIsGone) {
  fs::remove(first_);
  EXPECT_HOLDS("first: cannot be read: No such file", complaint());
}

}  // namespace
}  // namespace kvcalib
