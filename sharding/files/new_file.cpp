// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/new_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "sharding/files/error.h"
#include "sharding/files/restarted.h"

namespace kvcalib {
namespace {

constexpr mode_t kFileMode = 0644;

Error cannot(const std::filesystem::path& path, const char* what) {
  return Error(concat(path.string(), ": cannot be ", what, ": ", std::strerror(errno)));
}

}  // namespace

NewFile::NewFile(const std::filesystem::path& path)
    : path_(path), descriptor_(restarted([&] {
        return open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kFileMode);
      })) {
  if (descriptor_ < 0) throw cannot(path_, "created");
}

NewFile::~NewFile() {
  if (descriptor_ >= 0) close(descriptor_);
}

void NewFile::append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
    if (written < 0 && errno != EINTR) throw cannot(path_, "written");
    if (written > 0) bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

void NewFile::finish() {
  // Some file systems report a full disk only at the end.
  if (restarted([&] { return fsync(descriptor_); }) != 0 ||
      close(std::exchange(descriptor_, -1)) != 0)
    throw cannot(path_, "written");
}

}  // namespace kvcalib
