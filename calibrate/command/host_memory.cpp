// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/host_memory.h"

#include <sys/resource.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>
#include <string_view>
#include <vector>

namespace kvcalib {
namespace {

using std::filesystem::path;

// Where a version of control groups keeps what it says of memory.
struct GroupFiles {
  const char* mount;
  const char* limit;
  const char* usage;
  std::vector<std::string_view> given_back;  // of memory.stat: what is free when it is wanted
};

const GroupFiles kVersion1 = {"sys/fs/cgroup/memory",
                              "memory.limit_in_bytes",
                              "memory.usage_in_bytes",
                              {"total_active_file", "total_inactive_file"}};
const GroupFiles kVersion2 = {"sys/fs/cgroup",
                              "memory.max",
                              "memory.current",
                              {"active_file", "inactive_file", "slab_reclaimable"}};

std::optional<uint64_t> number(std::string_view text) {
  uint64_t value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc{} || end == text.data()) return std::nullopt;
  return value;
}

// Nothing also where there is no limit ("max").
std::optional<uint64_t> number_in(const path& file) {
  std::ifstream stream(file);
  std::string word;
  stream >> word;
  return number(word);
}

// The number behind a name in a file of names and numbers.
std::optional<uint64_t> number_named(const path& file, std::string_view name) {
  std::ifstream stream(file);
  for (std::string word, value; stream >> word;) {
    if (word == name) return stream >> value ? number(value) : std::nullopt;
    std::getline(stream, value);
  }
  return std::nullopt;
}

std::optional<HostMemory> memory_of_machine(const path& root) {
  const auto free = number_named(root / "proc/meminfo", "MemAvailable:");
  const auto total = number_named(root / "proc/meminfo", "MemTotal:");
  if (!free || !total) return std::nullopt;
  return HostMemory{*free * 1024, *total * 1024, "MemAvailable"};
}

std::optional<HostMemory> memory_of_group(const path& folder, const GroupFiles& files) {
  const auto limit = number_in(folder / files.limit);
  const auto usage = number_in(folder / files.usage);
  if (!limit || !usage) return std::nullopt;
  uint64_t given_back = 0;
  for (const std::string_view name : files.given_back)
    given_back += number_named(folder / "memory.stat", name).value_or(0);
  const uint64_t used = *usage - std::min(given_back, *usage);
  return HostMemory{*limit - std::min(used, *limit), *limit, (folder / files.limit).string()};
}

void take_less(std::optional<HostMemory>& least, const std::optional<HostMemory>& other) {
  if (other && (!least || other->free_bytes < least->free_bytes)) least = other;
}

// In a container the group may be named as the host sees it, while only its own folder is there, as
// the root.
void take_groups(std::optional<HostMemory>& least, const path& root, const path& group,
                 const GroupFiles& files) {
  for (path above = group.relative_path();; above = above.parent_path()) {
    take_less(least, memory_of_group((root / files.mount / above).lexically_normal(), files));
    if (above.empty()) return;
  }
}

bool names_memory(const std::string& controllers) {
  std::istringstream names(controllers);
  for (std::string name; std::getline(names, name, ',');)
    if (name == "memory") return true;
  return false;
}

}  // namespace

std::optional<HostMemory> host_memory(const path& root) {
  std::optional<HostMemory> least = memory_of_machine(root);
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // number:controllers:group
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const path group = line.substr(second + 1);
    if (controllers.empty())
      take_groups(least, root, group, kVersion2);
    else if (names_memory(controllers))
      take_groups(least, root, group, kVersion1);
  }
  return least;
}

uint64_t peak_host_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

}  // namespace kvcalib
