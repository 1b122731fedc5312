// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/ranged_file.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "sharding/files/error.h"

namespace kvcalib {

namespace {

Error cannot_read(const std::filesystem::path& path) {
  return Error(concat(path.string(), ": cannot be read: ", std::strerror(errno)));
}

}  // namespace

RangedFile::RangedFile(const std::filesystem::path& path)
    : path_(path), descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
  if (descriptor_ < 0) throw cannot_read(path_);
}

RangedFile::~RangedFile() { close(descriptor_); }

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

}  // namespace kvcalib
