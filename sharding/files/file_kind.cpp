// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/file_kind.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

using Look = int (*)(const char* path, struct stat* status);

FileKind kind(const std::filesystem::path& path, Look look) {
  struct stat status {};
  if (look(path.c_str(), &status) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return FileKind::kNothing;
    throw Error(concat(path.string(), ": cannot be looked at: ", std::strerror(errno)));
  }
  if (S_ISREG(status.st_mode)) return FileKind::kFile;
  if (S_ISDIR(status.st_mode)) return FileKind::kDirectory;
  return S_ISLNK(status.st_mode) ? FileKind::kLink : FileKind::kOther;
}

}  // namespace

FileKind kind_behind(const std::filesystem::path& path) { return kind(path, ::stat); }
FileKind kind_at(const std::filesystem::path& path) { return kind(path, ::lstat); }

}  // namespace kvcalib
