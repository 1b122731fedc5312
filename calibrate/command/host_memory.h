// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace kvcalib {

// What processes can still take of this machine's memory.
struct HostMemory {
  uint64_t free_bytes = 0;
  uint64_t total_bytes = 0;  // of the machine, or of the control group that leaves the least
  std::string source;        // what says so: MemAvailable, or the control group's file

  bool operator==(const HostMemory&) const = default;
};

// The least of what the machine has (MemAvailable of /proc/meminfo, proc(5)) and what the control
// groups of this process leave it, up to their root: version 2 (memory.max, memory.current; kernel
// documentation cgroup-v2) and version 1 (memory.limit_in_bytes, memory.usage_in_bytes).  Pages of
// files count as free, which the kernel gives back first.  `root` is where proc and sys are found.
// Nothing where the system does not say.
std::optional<HostMemory> host_memory(const std::filesystem::path& root);

// What this process held of it at most.
uint64_t peak_host_bytes();

}  // namespace kvcalib
