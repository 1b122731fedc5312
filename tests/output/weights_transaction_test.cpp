// SPDX-License-Identifier: Apache-2.0
#include "calibrate/output/weights_transaction.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>

#include "tests/message_of.h"
#include "tests/output/child_process.h"
#include "tests/output/output_folder.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPlainConfig = "int8 = 0\n";
constexpr const char* kInt8Config = "int8 = 4\n";

// Weights with no set in force.
Files fresh() { return {{"config", kPlainConfig}, {"norm.weight", "weights"}}; }

// Weights with a set for four ranks in force and older backups beside it.
Files in_force() {
  return joined(part_set(2, 4, "old"), {{"config", "int8 = 4 ; old\n"},
                                        {"config.backup", kPlainConfig},
                                        {"statistics", "old statistics"},
                                        {"norm.weight", "weights"}});
}

// What a run writes: a set for two ranks.
Files output() {
  return joined(
      part_set(2, 2, "new"),
      {{"config", kInt8Config}, {"config.diff", "patch"}, {"statistics", "new statistics"}});
}

// What a run leaves of `before`.
Files after(const Files& before) {
  Files files;
  for (const auto& [name, bytes] : before) {
    if (!is_part(name)) files[name] = bytes;
  }
  files[files.contains("config.backup") ? "config.backup.2" : "config.backup"] =
      before.at("config");
  return joined(files, output());
}

void replace(const fs::path& folder, const Files& files, const StepHook& step = {}) {
  WeightsTransaction transaction(folder, set_names(), true, step);
  for (const auto& [name, bytes] : files) transaction.write(name, bytes);
  transaction.commit();
}

class WeightsTransactionTest : public testing::Test {
 protected:
  void start_from(const Files& files) {
    fs::remove_all(folder_);
    fs::create_directory(folder_);
    put(folder_, files);
  }

  OutputFolder parent_;
  fs::path folder_ = parent_.path() / "weights";
};

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
  EXPECT_HOLDS(concat(folder_.string(), ": has 8 KV part files already; pass --force"),
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

// Every failure of a step must leave the old set, or the new one once it is in force.
TEST_F(WeightsTransactionTest, TakesBackEverythingWhenAStepFails) {
  for (const Files& before : {fresh(), in_force()}) {
    bool failed = true;
    for (int64_t fatal = 0; failed; ++fatal) {
      start_from(before);
      int64_t steps = 0;
      bool flipped = false;
      const std::string message = message_of([&] {
        replace(folder_, output(), [&](std::string_view step) {
          flipped = flipped || step == "point current at next";
          if (steps++ == fatal) throw Error("out of order");
        });
      });
      failed = message != "nothing was thrown";
      if (failed) {
        EXPECT_HOLDS("out of order", message);
      }
      if (failed && flipped) {
        EXPECT_HOLDS("; the new part files and config are in force all the same", message);
      }
      ASSERT_EQ(visible(folder_), flipped ? after(before) : before) << fatal;
      ASSERT_TRUE(is_tidy(folder_)) << fatal;
    }
  }
}

// The promise: config says int8 only while the parts are one complete set, and what is to
// be seen is the old state or the new one, whole.
void expect_promise(const Files& seen, const Files& before, const std::string& where) {
  ASSERT_TRUE(seen == before || seen == after(before)) << where;
  if (seen.at("config").find("int8 = 4") == std::string::npos) return;
  Files parts;
  for (const auto& [name, bytes] : seen) {
    if (is_part(name)) parts[name] = bytes;
  }
  ASSERT_TRUE(parts == part_set(2, 4, "old") || parts == part_set(2, 2, "new")) << where;
}

TEST_F(WeightsTransactionTest, KeepsItsPromiseWhereverItIsKilled) {
  for (const Files& before : {fresh(), in_force()}) {
    const auto run = [&](const StepHook& step) { replace(folder_, output(), step); };
    int64_t steps = 0;
    int64_t old_states = 0, new_states = 0;
    for (bool killed = true; killed; ++steps) {
      start_from(before);
      killed = is_killed_at(steps, run);
      const Files seen = visible(folder_);
      expect_promise(seen, before, concat("killed at step ", steps));
      ++(seen == before ? old_states : new_states);

      WeightsTransaction::recover(folder_, set_names());
      ASSERT_EQ(visible(folder_), seen) << steps;
      ASSERT_TRUE(is_tidy(folder_)) << steps;

      run({});
      ASSERT_EQ(visible(folder_), after(before)) << steps;
      ASSERT_TRUE(is_tidy(folder_)) << steps;
    }
    EXPECT_GT(old_states, 20);
    EXPECT_GT(new_states, 10);
  }
}

TEST_F(WeightsTransactionTest, KeepsItsPromiseWhenRecoveryIsKilledToo) {
  const Files before = joined(part_set(1, 2, "old"), {{"config", kInt8Config}});
  const Files files = joined(part_set(1, 1, "new"), {{"config", "int8 = 4"}});
  const auto run = [&](const StepHook& step) { replace(folder_, files, step); };
  for (int64_t first = 0;; ++first) {
    bool killed_again = true;
    for (int64_t second = 0; killed_again; ++second) {
      start_from(before);
      if (!is_killed_at(first, run)) break;
      const Files seen = visible(folder_);
      killed_again = is_killed_at(second, [&](const StepHook& step) {
        WeightsTransaction::recover(folder_, set_names(), step);
      });
      ASSERT_EQ(visible(folder_), seen) << first << ", " << second;
      WeightsTransaction::recover(folder_, set_names());
      ASSERT_EQ(visible(folder_), seen) << first << ", " << second;
      ASSERT_TRUE(is_tidy(folder_)) << first << ", " << second;
    }
    if (killed_again) {
      EXPECT_GT(first, 20);
      break;  // the run came to its end
    }
  }
}

TEST_F(WeightsTransactionTest, KeepsItsPromiseWhenKilledAtAnyMoment) {
  uint32_t state = 1;
  for (int round = 0; round < 40; ++round) {
    start_from(in_force());
    const pid_t child = ::fork();
    if (child == 0) {
      replace(folder_, output());
      ::_exit(0);
    }
    state = state * 1664525u + 1013904223u;
    ::usleep((state >> 16) % 2500);
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    expect_promise(visible(folder_), in_force(), concat("round ", round));
    WeightsTransaction::recover(folder_, set_names());
    expect_promise(visible(folder_), in_force(), concat("round ", round));
    ASSERT_TRUE(is_tidy(folder_));
  }
}

// No file may grow beyond `bytes` while it lives.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int) = nullptr;
};

TEST_F(WeightsTransactionTest, FindsAFullDiskBeforeAnyWork) {
  start_from(fresh());
  std::string message;
  {
    const FileSizeLimit limit(4096);
    message = message_of([&] { WeightsTransaction transaction(folder_, set_names(), false); });
  }
  EXPECT_HOLDS("weights/.kvcalib-transaction/scratch: cannot be written: File too large", message);
  EXPECT_EQ(visible(folder_), fresh());
  EXPECT_TRUE(is_tidy(folder_));
}

TEST_F(WeightsTransactionTest, TakesBackEverythingWhenAWriteFails) {
  start_from(in_force());
  std::string message;
  {
    const FileSizeLimit limit(100000);
    message = message_of([&] {
      replace(folder_, joined(output(), {{"summary", std::string(200000, 'x')}}));
    });
  }
  EXPECT_HOLDS("next/summary: cannot be written: File too large", message);
  EXPECT_EQ(visible(folder_), in_force());
  EXPECT_TRUE(is_tidy(folder_));
}

TEST_F(WeightsTransactionTest, NamesADirectoryItMayNotWrite) {
  start_from(fresh());
  const std::string message = text_from_child([&]() -> std::string {
    if (::geteuid() == 0) {
      ::chmod(parent_.path().c_str(), 0755);
      if (::setuid(65534) != 0) return "cannot change the user";
    } else {
      ::chmod(folder_.c_str(), 0555);
    }
    return message_of([&] { WeightsTransaction transaction(folder_, set_names(), false); });
  });
  ::chmod(folder_.c_str(), 0755);
  if (message == "cannot change the user") GTEST_SKIP() << "root without the right to " << message;
  EXPECT_HOLDS("weights/.kvcalib-transaction: cannot be created: Permission denied", message);
  EXPECT_EQ(visible(folder_), fresh());
  EXPECT_TRUE(is_tidy(folder_));
}

// The message of a run on a file system of its own, mounted with these flags and options.
std::string message_on_mount(const fs::path& folder, unsigned long flags, const char* options,
                             const Files& files) {
  return text_from_child([&]() -> std::string {
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", folder.c_str(), "tmpfs", 0, options) != 0) {
      return "no right to mount";
    }
    put(folder, fresh());
    if (flags != 0) ::mount("tmpfs", folder.c_str(), "tmpfs", flags, options);
    const std::string message = message_of([&] { replace(folder, files); });
    const bool done = visible(folder) == after(fresh()) && message == "nothing was thrown";
    if (!is_tidy(folder) || (visible(folder) != fresh() && !done)) return "torn: " + message;
    return message;
  });
}

TEST_F(WeightsTransactionTest, ReportsAReadOnlyFileSystem) {
  start_from({});
  const std::string message =
      message_on_mount(folder_, MS_REMOUNT | MS_RDONLY, "size=1m", output());
  if (message == "no right to mount") GTEST_SKIP() << message;
  EXPECT_HOLDS(".kvcalib-transaction: cannot be created: Read-only file system", message);
}

TEST_F(WeightsTransactionTest, ReportsAFullDisk) {
  start_from({});
  const Files large = joined(output(), {{"summary", std::string(500000, 'x')}});
  const std::string message = message_on_mount(folder_, 0, "size=300k", large);
  if (message == "no right to mount") GTEST_SKIP() << message;
  EXPECT_HOLDS("next/summary: cannot be written: No space left on device", message);
}

// Inodes run out at ever later steps, those of the commit too.
TEST_F(WeightsTransactionTest, ReportsAFullDiskDuringTheCommit) {
  start_from({});
  std::string message, last;
  for (int inodes = 8; inodes < 60 && message != "nothing was thrown"; ++inodes) {
    last = message;
    message = message_on_mount(folder_, 0, concat("size=1m,nr_inodes=", inodes).c_str(), output());
    if (message == "no right to mount") GTEST_SKIP() << message;
    if (message != "nothing was thrown") {
      EXPECT_HOLDS("cannot be created", message);
      EXPECT_HOLDS("No space left on device", message);
      EXPECT_EQ(message.find("torn"), std::string::npos) << message;
    }
  }
  EXPECT_EQ(message, "nothing was thrown");
  EXPECT_HOLDS("scratch: cannot be created as a symbolic link", last);
}

}  // namespace
}  // namespace kvcalib
