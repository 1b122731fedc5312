// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/ranged_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "sharding/formats/error.h"

namespace kvcalib {

RangedFile::RangedFile(const std::filesystem::path& path)
    : path_(path), descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
  if (descriptor_ < 0) throw Error(concat(path.string(), ": ", std::strerror(errno)));
}

RangedFile::~RangedFile() { close(descriptor_); }

void RangedFile::read(uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t got = pread(descriptor_, out.data(), out.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw Error(concat(path_.string(), ": ", std::strerror(errno)));
    if (got == 0)
      throw Error(concat(path_.string(), ": ends at byte ", offset, "; it shrank during the run"));
    offset += static_cast<uint64_t>(got);
    out = out.subspan(static_cast<size_t>(got));
  }
}

}  // namespace kvcalib
