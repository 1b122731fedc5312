// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/file_kind.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "tests/message_of.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

class FileKindTest : public testing::Test {
 protected:
  FileKindTest() { fs::create_directory(folder_); }
  ~FileKindTest() override { fs::remove_all(folder_); }

  const fs::path folder_ =
      fs::path(testing::TempDir()) / ("kvcalib-kinds-" + std::to_string(::getpid()));
};

TEST_F(FileKindTest, TellsWhatIsThereAndWhatALinkLeadsTo) {
  std::ofstream(folder_ / "file") << "bytes";
  fs::create_symlink("file", folder_ / "link");
  fs::create_symlink("none", folder_ / "dangling");
  ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(kind_behind(folder_ / "file"), FileKind::kFile);
  EXPECT_EQ(kind_behind(folder_ / "link"), FileKind::kFile);
  EXPECT_EQ(kind_at(folder_ / "link"), FileKind::kLink);
  EXPECT_EQ(kind_behind(folder_ / "dangling"), FileKind::kNothing);
  EXPECT_EQ(kind_at(folder_ / "dangling"), FileKind::kLink);
  EXPECT_EQ(kind_behind(folder_), FileKind::kDirectory);
  EXPECT_EQ(kind_behind(folder_ / "pipe"), FileKind::kOther);
  for (const char* none : {"none", "none/further", "file/further", ""})
    EXPECT_EQ(kind_at(none[0] == '\0' ? fs::path() : folder_ / none), FileKind::kNothing) << none;
}

TEST_F(FileKindTest, TakesNoErrorForAbsence) {
  fs::create_symlink("loop", folder_ / "loop");
  EXPECT_HOLDS("loop: cannot be looked at: Too many levels of symbolic links",
               message_of([&] { kind_behind(folder_ / "loop"); }));
  EXPECT_HOLDS("cannot be looked at: File name too long",
               message_of([&] { kind_at(folder_ / std::string(300, 'x')); }));
}

}  // namespace
}  // namespace kvcalib
