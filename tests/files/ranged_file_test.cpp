// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/ranged_file.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/message_of.h"
#include "tests/turbomind_fixture.h"

namespace kvcalib {
namespace {

// A file that holds "0123456789".
class RangedFileTest : public testing::Test {
 protected:
  RangedFileTest() { fixture::write_file(path_, "0123456789"); }

  // `bytes` bytes from `offset` on, by `read`.
  std::string read(uint64_t offset, size_t bytes) const {
    std::string text(bytes, '?');
    RangedFile(path_).read(offset, std::as_writable_bytes(std::span(text)));
    return text;
  }

  const fixture::TemporaryFolder folder_;
  const std::filesystem::path path_ = folder_.path() / "file";
};

TEST_F(RangedFileTest, ReadsFromAnyPlace) {
  EXPECT_EQ(read(0, 10), "0123456789");
  EXPECT_EQ(read(7, 3), "789");
  EXPECT_EQ(read(4, 1), "4");
  EXPECT_EQ(read(10, 0), "");
}

TEST_F(RangedFileTest, TellsHowMuchThereIsBeforeTheEnd) {
  const RangedFile file(path_);
  std::string text(6, '?');
  EXPECT_EQ(file.read_some(7, std::as_writable_bytes(std::span(text))), 3U);
  EXPECT_EQ(text, "789???");
  EXPECT_EQ(file.read_some(99, std::as_writable_bytes(std::span(text))), 0U);
}

TEST_F(RangedFileTest, NamesAFileThatEndsBefore) {
  EXPECT_HOLDS(path_.string() + ": ends at byte 10", message_of([&] { read(8, 3); }));
}

TEST_F(RangedFileTest, NamesAFileThatIsNotThere) {
  EXPECT_HOLDS("/nobody: cannot be read: No such file",
               message_of([&] { RangedFile file(folder_.path() / "nobody"); }));
}

TEST_F(RangedFileTest, IsThereUnlessNothingHasItsName) {
  EXPECT_TRUE(is_file_there(path_));
  EXPECT_FALSE(is_file_there(folder_.path() / "nobody"));
  EXPECT_FALSE(is_file_there(path_ / "below a file"));
}

TEST_F(RangedFileTest, IsNotTakenForAbsentWhereItsNameIsTaken) {
  const std::filesystem::path link = folder_.path() / "link";
  create_symlink(folder_.path() / "nobody", link);
  EXPECT_HOLDS("/link: cannot be read: No such file", message_of([&] { is_file_there(link); }));
  EXPECT_HOLDS("is a directory, expected a regular file",
               message_of([&] { is_file_there(folder_.path()); }));
}

}  // namespace
}  // namespace kvcalib
