// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/unchanged_files.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "sharding/files/error.h"

namespace kvcalib {

UnchangedFiles::State UnchangedFiles::state_of(const std::filesystem::path& file) {
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0)
    throw Error(concat(file.string(), ": cannot be read: ", std::strerror(errno)));
  return {status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec};
}

void UnchangedFiles::add(const std::vector<std::filesystem::path>& files) {
  for (const std::filesystem::path& file : files) entries_.push_back({file, state_of(file)});
}

void UnchangedFiles::check() const {
  for (const Entry& entry : entries_) {
    if (state_of(entry.file) != entry.state)
      throw Error(concat(entry.file.string(), ": was changed while it was read, so the results ",
                         "would be of no one state of it; run again when nothing writes to it"));
  }
}

std::string UnchangedFiles::text() const {
  std::string text;
  for (const auto& [file, state] : entries_)
    text += concat(file.filename().string(), " ", state.bytes, " ", state.seconds, " ",
                   state.nanoseconds, "\n");
  return text;
}

}  // namespace kvcalib
