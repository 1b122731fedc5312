// SPDX-License-Identifier: Apache-2.0
#include "calibrate/output/output_directory.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "tests/message_of.h"
#include "tests/output/child_process.h"
#include "tests/output/output_folder.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

Files output() {
  return joined(part_set(2, 2, "new"),
                {{"config", "new"}, {"config.diff", "new"}, {"summary", "{}"}});
}

Files earlier() {
  return joined(part_set(2, 4, "old"), {{"config", "old"}, {"statistics", "old"}});
}

void make(const fs::path& folder, bool force, const Files& files, const StepHook& step = {}) {
  OutputDirectory transaction(folder, force, foreign_to(set_names()), step);
  for (const auto& [name, bytes] : files) transaction.write(name, bytes);
  transaction.commit();
}

class OutputDirectoryTest : public testing::Test {
 protected:
  std::string refusal(const fs::path& folder, bool force = false) {
    return message_of([&] { OutputDirectory transaction(folder, force, foreign_to(set_names())); });
  }
  void start_from(const Files& files) {
    fs::remove_all(folder_);
    if (files.empty()) return;
    fs::create_directory(folder_);
    put(folder_, files);
  }
  // Names in the parent, which must be `out` alone.
  std::string siblings() {
    std::string names;
    for (const auto& entry : fs::directory_iterator(parent_.path())) {
      names += entry.path().filename().string() + " ";
    }
    return names;
  }

  OutputFolder parent_;
  fs::path folder_ = parent_.path() / "out";
};

TEST_F(OutputDirectoryTest, AppearsWholeAtCommit) {
  OutputDirectory transaction(folder_, false, foreign_to(set_names()));
  for (const auto& [name, bytes] : output()) {
    transaction.write(name, bytes);
    EXPECT_FALSE(fs::exists(folder_));
  }
  transaction.commit();
  EXPECT_EQ(visible(folder_), output());
  EXPECT_EQ(siblings(), "out ");
}

TEST_F(OutputDirectoryTest, LeavesNothingWithoutCommit) {
  {
    OutputDirectory transaction(folder_, false, foreign_to(set_names()));
    transaction.write("config", "x");
  }
  EXPECT_EQ(siblings(), "");
}

TEST_F(OutputDirectoryTest, TakesAnEmptyDirectoryAndItsPermissions) {
  fs::create_directory(folder_);
  ::chmod(folder_.c_str(), 0700);
  make(folder_, false, output());
  EXPECT_EQ(visible(folder_), output());
  EXPECT_EQ(static_cast<int>(fs::status(folder_).permissions()), 0700);
}

TEST_F(OutputDirectoryTest, TakesPathsInAnySpelling) {
  fs::create_directory(parent_.path() / "sub");
  make(parent_.path() / "sub/../out/", false, output());
  EXPECT_EQ(visible(folder_), output());
  fs::create_directory(parent_.path() / "sub/target");
  fs::create_directory_symlink("sub/target", parent_.path() / "link");
  make(parent_.path() / "link", false, output());
  EXPECT_TRUE(fs::is_symlink(parent_.path() / "link"));
  EXPECT_EQ(visible(parent_.path() / "sub/target"), output());
}

TEST_F(OutputDirectoryTest, ReplacesEarlierOutputOnlyWithForce) {
  start_from(earlier());
  EXPECT_HOLDS("out: holds 10 files of an earlier run; pass --force", refusal(folder_));
  EXPECT_EQ(visible(folder_), earlier());
  make(folder_, true, output());
  EXPECT_EQ(visible(folder_), output());
  EXPECT_EQ(siblings(), "out ");
}

TEST_F(OutputDirectoryTest, NeverReplacesWhatIsNotItsOwn) {
  start_from(joined(earlier(), {{"norm.weight", "weights"}, {"thesis.tex", "x"}}));
  for (const bool force : {false, true}) {
    EXPECT_HOLDS("out: holds 'norm.weight', which is not kvcalib's; name a new directory",
                 refusal(folder_, force));
  }
  start_from({{"config", "x"}});
  fs::create_directory(folder_ / "summary");
  EXPECT_HOLDS("holds 'summary', which is not kvcalib's", refusal(folder_, true));
  EXPECT_EQ(siblings(), "out ");
}

TEST_F(OutputDirectoryTest, RefusesWhatAppearedInTheMeantime) {
  OutputDirectory transaction(folder_, true, foreign_to(set_names()));
  transaction.write("config", "x");
  fs::create_directory(folder_);
  put(folder_, {{"mine.txt", "x"}});
  EXPECT_HOLDS("holds 'mine.txt'", message_of([&] { transaction.commit(); }));
  EXPECT_EQ(contents(folder_ / "mine.txt"), "x");
}

TEST_F(OutputDirectoryTest, RefusesPlacesThatAreNone) {
  put(parent_.path(), {{"file", "x"}});
  fs::create_symlink("nowhere", parent_.path() / "dangling");
  EXPECT_HOLDS("file: exists and is no directory", refusal(parent_.path() / "file"));
  EXPECT_HOLDS("dangling: exists and is no directory", refusal(parent_.path() / "dangling"));
  EXPECT_HOLDS("is no directory; create that first", refusal(parent_.path() / "a/b"));
  EXPECT_HOLDS("is no directory; create that first", refusal(parent_.path() / "file/b"));
  EXPECT_HOLDS("no path to a file or directory", refusal(""));
  EXPECT_HOLDS("which is not kvcalib's", refusal("/"));
}

TEST_F(OutputDirectoryTest, RefusesASecondRun) {
  const OutputDirectory first(folder_, false, foreign_to(set_names()));
  EXPECT_HOLDS(".out.kvcalib-partial: another kvcalib is writing here", refusal(folder_));
}

TEST_F(OutputDirectoryTest, RefusesAMountPoint) {
  const std::string message = text_from_child([&]() -> std::string {
    fs::create_directory(folder_);
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", folder_.c_str(), "tmpfs", 0, "size=1m") != 0) {
      return "no right to mount";
    }
    return refusal(folder_);
  });
  if (message == "no right to mount") GTEST_SKIP() << message;
  EXPECT_HOLDS("out: is a mount point", message);
}

TEST_F(OutputDirectoryTest, NamesAParentItMayNotWrite) {
  const std::string message = text_from_child([&]() -> std::string {
    ::chmod(parent_.path().c_str(), 0555);
    if (::geteuid() == 0 && ::setuid(65534) != 0) return "cannot change the user";
    return refusal(folder_);
  });
  ::chmod(parent_.path().c_str(), 0755);
  if (message == "cannot change the user") GTEST_SKIP() << "root without the right to " << message;
  EXPECT_HOLDS(".out.kvcalib-partial: cannot be created: Permission denied", message);
  EXPECT_EQ(siblings(), "");
}

TEST_F(OutputDirectoryTest, IsOldOrNewWhereverItIsKilled) {
  for (const Files& before : {Files{}, earlier()}) {
    const auto run = [&](const StepHook& step) { make(folder_, true, output(), step); };
    bool killed = true;
    for (int64_t step = 0; killed; ++step) {
      start_from(before);
      killed = is_killed_at(step, run);
      const Files seen = fs::exists(folder_) ? visible(folder_) : Files{};
      ASSERT_TRUE(seen == before || seen == output()) << step;
      if (!killed) {
        ASSERT_EQ(seen, output());
      }
      run({});
      ASSERT_EQ(visible(folder_), output()) << step;
      ASSERT_EQ(siblings(), "out ") << step;
    }
  }
}

TEST_F(OutputDirectoryTest, PutsBackWhatAKilledRunSetAside) {
  start_from(earlier());
  fs::rename(folder_, parent_.path() / ".out.kvcalib-previous");
  EXPECT_HOLDS("holds 10 files of an earlier run", refusal(folder_));
  EXPECT_EQ(visible(folder_), earlier());
  fs::create_directory(parent_.path() / ".out.kvcalib-previous");
  make(folder_, true, output());
  EXPECT_EQ(siblings(), "out ");
}

TEST_F(OutputDirectoryTest, TakesContentInPieces) {
  {
    OutputDirectory transaction(folder_, false, foreign_to(set_names()));
    transaction.write("summary", [](ByteSink& file) {
      for (const char* piece : {"a", "", "bc"}) file.append(std::string_view(piece));
    });
    EXPECT_HOLDS("broken", message_of([&] {
                   transaction.write("config", [](ByteSink& file) {
                     file.append(std::string_view("half"));
                     throw Error("broken");
                   });
                 }));
    transaction.write("config", "whole");
    transaction.commit();
  }
  EXPECT_EQ(visible(folder_), (Files{{"summary", "abc"}, {"config", "whole"}}));
}

}  // namespace
}  // namespace kvcalib
