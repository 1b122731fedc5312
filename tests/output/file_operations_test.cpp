// SPDX-License-Identifier: Apache-2.0
#include "calibrate/output/file_operations.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/message_of.h"
#include "tests/output/output_folder.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

TEST(NewFileOnDisk, HoldsItsContentAndKeepsTheMask) {
  const OutputFolder folder;
  const mode_t mask = ::umask(027);
  write_new_file(folder.path() / "file", "bytes");
  ::umask(mask);
  EXPECT_EQ(contents(folder.path() / "file"), "bytes");
  EXPECT_EQ(static_cast<int>(fs::status(folder.path() / "file").permissions()), 0640);
}

TEST(NewFileOnDisk, LeavesAnEarlierFileAlone) {
  const OutputFolder folder;
  put(folder.path(), {{"file", "earlier"}});
  EXPECT_HOLDS("file: cannot be created: File exists",
               message_of([&] { write_new_file(folder.path() / "file", "later"); }));
  EXPECT_EQ(contents(folder.path() / "file"), "earlier");
}

TEST(NewFileOnDisk, IsRemovedWhenItsContentThrows) {
  const OutputFolder folder;
  const auto torn = [](ByteSink& file) {
    file.append(std::string_view("half"));
    throw Error("no more");
  };
  EXPECT_EQ(message_of([&] { write_new_file(folder.path() / "file", torn); }), "no more");
  EXPECT_EQ(visible(folder.path()), Files{});
}

TEST(FileOperations, DuplicateWithBytesAndPermissions) {
  const OutputFolder folder;
  put(folder.path(), {{"from", "bytes"}});
  ::chmod((folder.path() / "from").c_str(), 0600);
  duplicate_file(folder.path() / "from", folder.path() / "to");
  EXPECT_EQ(contents(folder.path() / "to"), "bytes");
  EXPECT_EQ(static_cast<int>(fs::status(folder.path() / "to").permissions()), 0600);
}

TEST(FileOperations, KnowWhatLiesWithinADirectory) {
  const OutputFolder folder;
  const fs::path inner = folder.path() / "inner", link = folder.path() / "link";
  fs::create_directory(inner);
  make_symbolic_link("inner", link);
  for (const fs::path& path : {inner, inner / "", inner / "new", inner / "new/er", link / "new",
                               folder.path() / "other/../inner/new"})
    EXPECT_TRUE(is_within(path, inner)) << path;
  for (const fs::path& path : {folder.path(), folder.path() / "inner2", inner / ".."})
    EXPECT_FALSE(is_within(path, inner)) << path;
  EXPECT_TRUE(is_within(inner / "new", link / ""));
  EXPECT_TRUE(is_within("not-there-yet", "."));
  EXPECT_TRUE(is_within("not-there-yet/new", fs::current_path()));
  EXPECT_THROW(is_within("", inner), Error);
  EXPECT_THROW(is_within(folder.path() / std::string(300, 'x'), inner), Error);
}

TEST(FileOperations, SeeLinksAsTheyAre) {
  const OutputFolder folder;
  const fs::path link = folder.path() / "link";
  make_symbolic_link("nowhere", link);
  EXPECT_TRUE(is_there(link));
  EXPECT_FALSE(is_plain_file(link));
  EXPECT_EQ(link_target(link), "nowhere");
  EXPECT_EQ(link_target(folder.path()), std::nullopt);
}

TEST(FileOperations, TakeNoErrorForAnAnswer) {
  const OutputFolder folder;
  put(folder.path(), {{"file", "bytes"}});
  const fs::path below_a_file = folder.path() / "file/name";
  const fs::path too_long = folder.path() / std::string(300, 'x');
  EXPECT_FALSE(is_there(below_a_file));
  EXPECT_HOLDS("cannot be looked at: File name too long", message_of([&] { is_there(too_long); }));
  EXPECT_HOLDS("cannot be looked at: File name too long",
               message_of([&] { is_plain_file(too_long); }));
  EXPECT_HOLDS("cannot be read as a link: File name too long",
               message_of([&] { link_target(too_long); }));
  EXPECT_EQ(link_target(folder.path() / "none"), std::nullopt);
  EXPECT_EQ(link_target(folder.path() / "file"), std::nullopt);
}

TEST(FileOperations, ReadLongLinksWhole) {
  const OutputFolder folder;
  const std::string target(2000, 'x');
  make_symbolic_link(target, folder.path() / "link");
  EXPECT_EQ(link_target(folder.path() / "link"), target);
}

TEST(FileOperations, RemoveWhatIsNotThere) {
  const OutputFolder folder;
  remove_file(folder.path() / "none");
  remove_tree(folder.path() / "none");
  EXPECT_EQ(list_directory(folder.path()), std::vector<std::string>{});
}

TEST(FileOperations, ListNamesInOrder) {
  const OutputFolder folder;
  put(folder.path(), {{"b", ""}, {"a", ""}, {".c", ""}});
  EXPECT_EQ(list_directory(folder.path()), (std::vector<std::string>{".c", "a", "b"}));
  EXPECT_HOLDS("none: cannot be listed: No such file",
               message_of([&] { list_directory(folder.path() / "none"); }));
}

}  // namespace
}  // namespace kvcalib
