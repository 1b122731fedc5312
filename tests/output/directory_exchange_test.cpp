// SPDX-License-Identifier: Apache-2.0
#include "calibrate/output/directory_exchange.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <set>

#include "calibrate/output/file_operations.h"
#include "tests/message_of.h"
#include "tests/output/child_process.h"
#include "tests/output/output_folder.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

const Files kOld{{"config", "old"}, {"weights", "old"}};
const Files kNew{{"config", "new"}, {"weights", "new"}};

class DirectoryExchangeTest : public testing::Test {
 protected:
  DirectoryExchangeTest() { start(); }

  void start() {
    for (const auto& entry : fs::directory_iterator(parent_.path())) fs::remove_all(entry.path());
    fs::create_directory(folder_);
    put(folder_, kOld);
  }
  void exchange(const StepHook& step = {}) {
    DirectoryExchange exchange(folder_, step);
    exchange.write_tree([&](const fs::path& partial) {
      for (const auto& [name, bytes] : kNew) {
        write_new_file(partial / name, bytes);
        if (step) step("write a file");
      }
    });
    exchange.commit();
  }
  std::string siblings() {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(parent_.path()))
      names.insert(entry.path().filename().string());
    std::string text;
    for (const std::string& name : names) text += name + " ";
    return text;
  }

  OutputFolder parent_;
  fs::path folder_ = parent_.path() / "dir";
};

TEST_F(DirectoryExchangeTest, PutsTheNewInPlaceAndKeepsTheOld) {
  ::chmod(folder_.c_str(), 0700);
  exchange();
  EXPECT_EQ(visible(folder_), kNew);
  EXPECT_EQ(visible(parent_.path() / "dir.backup"), kOld);
  EXPECT_EQ(siblings(), "dir dir.backup ");
  EXPECT_FALSE(fs::exists(folder_ / ".kvcalib-unfinished"));
  EXPECT_EQ(static_cast<int>(fs::status(folder_).permissions()), 0700);
  exchange();
  EXPECT_EQ(visible(parent_.path() / "dir.backup"), kOld);
  EXPECT_EQ(visible(parent_.path() / "dir.backup.2"), kNew);
}

TEST_F(DirectoryExchangeTest, LeavesNothingWithoutCommit) {
  {
    DirectoryExchange exchange(folder_);
    exchange.write_tree(
        [](const fs::path& partial) { write_new_file(partial / "config", std::string_view("x")); });
  }
  EXPECT_EQ(siblings(), "dir ");
  EXPECT_EQ(visible(folder_), kOld);
}

TEST_F(DirectoryExchangeTest, FollowsALinkToTheDirectory) {
  fs::create_directory_symlink("dir", parent_.path() / "link");
  {
    DirectoryExchange exchange(parent_.path() / "link");
    exchange.commit();
  }
  EXPECT_TRUE(fs::is_symlink(parent_.path() / "link"));
  EXPECT_EQ(siblings(), "dir dir.backup link ");
}

TEST_F(DirectoryExchangeTest, RefusesWhatIsNoDirectoryAndASecondRun) {
  put(parent_.path(), {{"file", "x"}});
  for (const char* const name : {"file", "nothing"})
    EXPECT_HOLDS(std::string(name) + ": no directory",
                 message_of([&] { DirectoryExchange exchange(parent_.path() / name); }));
  const DirectoryExchange first(folder_);
  EXPECT_HOLDS("another kvcalib is writing here",
               message_of([&] { DirectoryExchange second(folder_); }));
}

TEST_F(DirectoryExchangeTest, IsOldOrNewWhereverItIsKilledAndTheNextRunEndsIt) {
  bool killed = true;
  for (int64_t step = 0; killed; ++step) {
    start();
    killed = is_killed_at(step, [&](const StepHook& hook) { exchange(hook); });
    const Files seen = visible(folder_);
    ASSERT_TRUE(seen == kOld || seen == kNew) << step;
    if (!killed) {
      ASSERT_EQ(seen, kNew);
    }
    exchange();
    ASSERT_EQ(visible(folder_), kNew) << step;
    ASSERT_EQ(visible(parent_.path() / "dir.backup"), kOld) << step;
    ASSERT_EQ(siblings(), seen == kOld ? "dir dir.backup " : "dir dir.backup dir.backup.2 ");
    ASSERT_FALSE(fs::exists(folder_ / ".kvcalib-unfinished"));
  }
}

// The run that clears what a killed one has left may be killed as well.
TEST_F(DirectoryExchangeTest, SurvivesAKillWhileItClears) {
  bool killed = true;
  for (int64_t first = 0; killed; ++first) {
    bool killed_again = true;
    for (int64_t second = 0; killed_again; ++second) {
      start();
      killed = is_killed_at(first, [&](const StepHook& hook) { exchange(hook); });
      killed_again = is_killed_at(second, [&](const StepHook& hook) { exchange(hook); });
      const Files seen = visible(folder_);
      ASSERT_TRUE(seen == kOld || seen == kNew) << first << " " << second;
      exchange();
      ASSERT_EQ(visible(parent_.path() / "dir.backup"), kOld) << first << " " << second;
    }
  }
}

}  // namespace
}  // namespace kvcalib
