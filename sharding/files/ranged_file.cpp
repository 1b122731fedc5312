// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/ranged_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>

#include "sharding/files/error.h"
#include "sharding/files/file_kind.h"
#include "sharding/files/restarted.h"

namespace kvcalib {
namespace {

constexpr std::string_view kPointerBegin = "version https://git-lfs.github.com/spec/";
constexpr uint64_t kShortestPointer = 100, kLongestPointer = 1024;  // bytes

Error cannot_read(const std::filesystem::path& path) {
  return Error(concat(path.string(), ": cannot be read: ", std::strerror(errno)));
}

const char* kind_name(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a named pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

Error no_regular_file(const std::filesystem::path& path, mode_t mode) {
  return Error(concat(path.string(), ": is ", kind_name(mode), ", expected a regular file"));
}

}  // namespace

// O_NONBLOCK: opening a pipe would wait for its writer.
RangedFile::RangedFile(const std::filesystem::path& path)
    : path_(path), descriptor_(restarted([&] {
        return open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
      })) {
  if (descriptor_ < 0) {
    const Error failure = cannot_read(path_);
    struct stat found;
    if (stat(path.c_str(), &found) == 0 && S_ISSOCK(found.st_mode))
      throw no_regular_file(path_, found.st_mode);
    throw failure;
  }
  try {
    check_kind();
  } catch (...) {
    close(descriptor_);
    throw;
  }
}

RangedFile::~RangedFile() { close(descriptor_); }

void RangedFile::check_kind() {
  struct stat found;
  if (fstat(descriptor_, &found) != 0) throw cannot_read(path_);
  if (!S_ISREG(found.st_mode)) throw no_regular_file(path_, found.st_mode);
  bytes_ = static_cast<uint64_t>(found.st_size);
  if (bytes_ < kShortestPointer || bytes_ > kLongestPointer) return;
  std::string begin(kPointerBegin.size(), '\0');
  read_some(0, std::as_writable_bytes(std::span(begin)));
  if (begin == kPointerBegin)
    throw Error(concat(path_.string(),
                       ": is a Git LFS pointer, which stands for the file that was ",
                       "not fetched; fetch it with git lfs pull"));
}

// Where the system cannot tell, nothing is.
bool RangedFile::is_cached(uint64_t offset) const {
  char first = 0;
  const iovec out{&first, 1};
  return preadv2(descriptor_, &out, 1, static_cast<off_t>(offset), RWF_NOWAIT) == 1;
}

void RangedFile::will_read(uint64_t offset, uint64_t bytes) const {
  // Asking for pages that are there costs a look at each.
  if (is_cached(offset)) return;
  posix_fadvise(descriptor_, static_cast<off_t>(offset), static_cast<off_t>(bytes),
                POSIX_FADV_WILLNEED);
}

size_t RangedFile::read_some(uint64_t offset, std::span<std::byte> out) const {
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t got =
        pread(descriptor_, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (got == 0) break;
    if (got > 0)
      done += static_cast<size_t>(got);
    else if (errno != EINTR)
      throw cannot_read(path_);
  }
  return done;
}

void RangedFile::read(uint64_t offset, std::span<std::byte> out) const {
  const size_t got = read_some(offset, out);
  if (got < out.size())
    throw Error(
        concat(path_.string(), ": ends at byte ", offset + got, "; it shrank during the run"));
}

bool is_file_there(const std::filesystem::path& path) {
  if (kind_at(path) == FileKind::kNothing) return false;
  const RangedFile file(path);
  return true;
}

}  // namespace kvcalib
