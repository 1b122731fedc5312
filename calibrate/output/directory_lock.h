// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

namespace kvcalib {

// The right to write in a directory, held against other processes until destruction (flock, which
// ends with the process and with those it forked).
class DirectoryLock {
 public:
  // Throws Error when the path is no readable directory or another process holds the lock.
  explicit DirectoryLock(const std::filesystem::path& directory);
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;
  ~DirectoryLock();

  // Whether `directory` still is what was locked.  Throws Error when that cannot be seen.
  bool is_of(const std::filesystem::path& directory) const;

 private:
  int descriptor_;
};

}  // namespace kvcalib
