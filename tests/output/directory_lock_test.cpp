// SPDX-License-Identifier: Apache-2.0
#include "calibrate/output/directory_lock.h"

#include <gtest/gtest.h>

#include "tests/message_of.h"
#include "tests/output/output_folder.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

TEST(DirectoryLock, IsHeldUntilItsEnd) {
  const OutputFolder folder;
  const auto take = [&] { return message_of([&] { const DirectoryLock lock(folder.path()); }); };
  {
    const DirectoryLock lock(folder.path());
    EXPECT_HOLDS("another kvcalib is writing here", take());
  }
  EXPECT_EQ(take(), "nothing was thrown");
}

TEST(DirectoryLock, KnowsWhetherItsDirectoryWasReplaced) {
  const OutputFolder folder;
  const fs::path place = folder.path() / "place";
  fs::create_directory(place);
  const DirectoryLock lock(place);
  EXPECT_TRUE(lock.is_of(place));
  fs::rename(place, folder.path() / "aside");
  EXPECT_FALSE(lock.is_of(place));
  fs::create_directory(place);
  EXPECT_FALSE(lock.is_of(place));
  EXPECT_TRUE(lock.is_of(folder.path() / "aside"));
}

TEST(DirectoryLock, RefusesWhatIsNoDirectory) {
  EXPECT_HOLDS("/nonexistent: cannot be opened as a directory: No such file",
               message_of([] { const DirectoryLock lock("/nonexistent"); }));
}

}  // namespace
}  // namespace kvcalib
