// SPDX-License-Identifier: Apache-2.0
#include "calibrate/output/directory_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "calibrate/output/file_operations.h"
#include "sharding/files/error.h"
#include "sharding/files/restarted.h"

namespace kvcalib {

DirectoryLock::DirectoryLock(const std::filesystem::path& directory)
    : descriptor_(restarted(
          [&] { return ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); })) {
  if (descriptor_ < 0) throw_system_error(directory, "cannot be opened as a directory");
  if (restarted([&] { return ::flock(descriptor_, LOCK_EX | LOCK_NB); }) == 0) return;
  const int reason = errno;
  ::close(descriptor_);
  if (reason == EWOULDBLOCK) {
    throw Error(concat(directory.string(), ": another kvcalib is writing here; wait for its end"));
  }
  errno = reason;
  throw_system_error(directory, "cannot be locked");
}

DirectoryLock::~DirectoryLock() { ::close(descriptor_); }

bool DirectoryLock::is_of(const std::filesystem::path& directory) const {
  struct stat locked {};
  struct stat named {};
  if (::fstat(descriptor_, &locked) != 0) throw_system_error(directory, "cannot be looked at");
  if (::stat(directory.c_str(), &named) != 0) {
    if (errno == ENOENT) return false;
    throw_system_error(directory, "cannot be looked at");
  }
  return locked.st_dev == named.st_dev && locked.st_ino == named.st_ino;
}

}  // namespace kvcalib
