// SPDX-License-Identifier: Apache-2.0
// A run into weights on a disk that is full, read-only or another user's.
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include <csignal>

#include "tests/message_of.h"
#include "tests/output/child_process.h"
#include "tests/output/weights_fixture.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;
using namespace fixture;

using WeightsDiskTest = WeightsTransactionTest;

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

TEST_F(WeightsDiskTest, FindsAFullDiskBeforeAnyWork) {
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

TEST_F(WeightsDiskTest, TakesBackEverythingWhenAWriteFails) {
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

TEST_F(WeightsDiskTest, NamesADirectoryItMayNotWrite) {
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

TEST_F(WeightsDiskTest, ReportsAReadOnlyFileSystem) {
  start_from({});
  const std::string message =
      message_on_mount(folder_, MS_REMOUNT | MS_RDONLY, "size=1m", output());
  if (message == "no right to mount") GTEST_SKIP() << message;
  EXPECT_HOLDS(".kvcalib-transaction: cannot be created: Read-only file system", message);
}

TEST_F(WeightsDiskTest, ReportsAFullDisk) {
  start_from({});
  const Files large = joined(output(), {{"summary", std::string(500000, 'x')}});
  const std::string message = message_on_mount(folder_, 0, "size=300k", large);
  if (message == "no right to mount") GTEST_SKIP() << message;
  EXPECT_HOLDS("next/summary: cannot be written: No space left on device", message);
}

// Inodes run out at ever later steps, those of the commit too.
TEST_F(WeightsDiskTest, ReportsAFullDiskDuringTheCommit) {
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
