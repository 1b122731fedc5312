// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/disk_space.h"

#include <sys/statvfs.h>

#include "calibrate/output/file_operations.h"
#include "calibrate/report/gigabytes.h"
#include "sharding/files/error.h"

namespace kvcalib {

uint64_t bytes_on_disk(uint64_t bytes) {
  constexpr uint64_t kBlock = 4096;
  return (bytes + kBlock - 1) / kBlock * kBlock;
}

void check_disk_space(const std::filesystem::path& directory, const std::string& place,
                      uint64_t needed) {
  struct statvfs system {};
  if (::statvfs(directory.c_str(), &system) != 0) throw_system_error(directory, "cannot be read");
  const uint64_t free = static_cast<uint64_t>(system.f_bavail) * system.f_frsize;
  if (free < needed)
    throw Error(concat(place, ": ", gigabytes(free), " are free, ", gigabytes(needed),
                       " are needed; make room or name another disk"));
}

}  // namespace kvcalib
