// SPDX-License-Identifier: Apache-2.0
#include "calibrate/output/weights_transaction.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/message_of.h"
#include "tests/output/child_process.h"
#include "tests/output/weights_fixture.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;
using namespace fixture;

TEST_F(WeightsTransactionTest, ReplacesTheWholeSetAndKeepsTheOldConfig) {
  for (const Files& before : {fresh(), in_force()}) {
    start_from(before);
    replace(folder_, output());
    EXPECT_EQ(visible(folder_), after(before));
    EXPECT_TRUE(is_tidy(folder_));
  }
}

TEST_F(WeightsTransactionTest, ChangesNothingBeforeCommit) {
  start_from(in_force());
  {
    WeightsTransaction transaction(folder_, set_names(), true);
    for (const auto& [name, bytes] : output()) transaction.write(name, bytes);
    EXPECT_EQ(visible(folder_), in_force());
  }
  EXPECT_EQ(visible(folder_), in_force());
  EXPECT_TRUE(is_tidy(folder_));
}

TEST_F(WeightsTransactionTest, KeepsEveryDifferentOldConfig) {
  start_from(fresh());
  replace(folder_, {{"config", "second"}});
  replace(folder_, {{"config", "third"}});
  replace(folder_, {{"config", "third"}});
  replace(folder_, {{"config", kPlainConfig}});
  replace(folder_, {{"config", "third"}});
  EXPECT_EQ(visible(folder_), (Files{{"config", "third"},
                                     {"config.backup", kPlainConfig},
                                     {"config.backup.2", "second"},
                                     {"config.backup.3", "third"},
                                     {"norm.weight", "weights"}}));
}

TEST_F(WeightsTransactionTest, LeavesAFileAloneThatWouldNotChange) {
  start_from(in_force());
  const auto inode = [&] {
    struct stat status {};
    ::stat((folder_ / "statistics").c_str(), &status);
    return status.st_ino;
  };
  const auto before = inode();
  replace(folder_, {{"statistics", "old statistics"}, {"config", kInt8Config}});
  EXPECT_EQ(inode(), before);
  EXPECT_TRUE(is_tidy(folder_));
}

TEST_F(WeightsTransactionTest, KeepsPermissionsOfWhatItReplaces) {
  start_from(fresh());
  ::chmod((folder_ / "config").c_str(), 0640);
  const mode_t mask = ::umask(027);
  replace(folder_, output());
  ::umask(mask);
  const auto mode = [&](const char* name) {
    return static_cast<int>(fs::status(folder_ / name).permissions());
  };
  EXPECT_EQ(mode("config"), 0640);
  EXPECT_EQ(mode("config.backup"), 0640);
  EXPECT_EQ(mode("statistics"), 0640);  // 0644 without the mask's bits
}

TEST_F(WeightsTransactionTest, FollowsALinkToTheDirectory) {
  start_from(fresh());
  fs::create_directory_symlink("weights", parent_.path() / "link");
  replace(parent_.path() / "link", output());
  EXPECT_EQ(visible(folder_), after(fresh()));
  EXPECT_TRUE(is_tidy(folder_));
}

TEST_F(WeightsTransactionTest, RefusesAnExistingSetWithoutForce) {
  start_from(in_force());
  EXPECT_HOLDS(concat(folder_.string(), ": has 8 part files already; pass --force"),
               message_of([&] { WeightsTransaction transaction(folder_, set_names(), false); }));
  EXPECT_EQ(visible(folder_), in_force());
  EXPECT_TRUE(is_tidy(folder_));
  start_from(fresh());
  EXPECT_EQ(message_of([&] { WeightsTransaction transaction(folder_, set_names(), false); }),
            "nothing was thrown");
}

TEST_F(WeightsTransactionTest, RefusesASecondRun) {
  start_from(fresh());
  const WeightsTransaction first(folder_, set_names(), false);
  EXPECT_HOLDS("another kvcalib is writing here",
               message_of([&] { WeightsTransaction second(folder_, set_names(), false); }));
  EXPECT_HOLDS("another kvcalib is writing here",
               message_of([&] { WeightsTransaction::recover(folder_, set_names()); }));
}

TEST_F(WeightsTransactionTest, RefusesToCutALink) {
  start_from(fresh());
  fs::rename(folder_ / "config", parent_.path() / "shared.ini");
  fs::create_symlink("../shared.ini", folder_ / "config");
  EXPECT_HOLDS("config: is no plain file",
               message_of([&] { WeightsTransaction transaction(folder_, set_names(), false); }));
  EXPECT_TRUE(fs::is_symlink(folder_ / "config"));
  EXPECT_FALSE(WeightsTransaction::is_pending(folder_));
}

TEST_F(WeightsTransactionTest, RefusesWhatIsNoDirectory) {
  EXPECT_HOLDS("weights: cannot be opened as a directory: No such file",
               message_of([&] { WeightsTransaction transaction(folder_, set_names(), false); }));
}

TEST_F(WeightsTransactionTest, RefusesNamesThatLeaveTheDirectory) {
  start_from(fresh());
  WeightsTransaction transaction(folder_, set_names(), false);
  for (const char* name : {"../x", "", ".hidden", "a/b"}) {
    EXPECT_HOLDS("not a file name for output", message_of([&] { transaction.write(name, ""); }));
  }
}

TEST_F(WeightsTransactionTest, TakesBackAChildsCopyNever) {
  start_from(fresh());
  WeightsTransaction transaction(folder_, set_names(), false);
  transaction.write("config", kInt8Config);
  text_from_child([&] {
    transaction.~WeightsTransaction();
    return std::string();
  });
  transaction.commit();
  EXPECT_EQ(visible(folder_).at("config"), kInt8Config);
}

TEST_F(WeightsTransactionTest, NamesAFolderOfItsOwnThatIsDamaged) {
  start_from(fresh());
  ASSERT_TRUE(is_killed_at(20, [&](const StepHook& step) { replace(folder_, output(), step); }));
  ASSERT_TRUE(fs::is_symlink(folder_ / "config"));
  fs::remove_all(folder_ / ".kvcalib-transaction");
  EXPECT_HOLDS(
      "which has no current; restore that folder, or put back config and the part files by hand",
      message_of([&] { WeightsTransaction::recover(folder_, set_names()); }));
}

}  // namespace
}  // namespace kvcalib
