// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace kvcalib {

// Files as they were when a run began that reads them more than once: what it says about their
// bytes holds for all of its readings, or for none.
class UnchangedFiles {
 public:
  // Notes how the files are now.  Throws Error naming one that is not there.
  void add(const std::vector<std::filesystem::path>& files);
  // Throws Error naming a file that has another size or time of change now.  Where it lies is not
  // asked: file systems of networks give a file another number when they look at it again.
  void check() const;
  // A line for each: its name, bytes and time of change, as they were noted.
  std::string text() const;

 private:
  struct State {
    int64_t bytes, seconds, nanoseconds;  // since the last change of its bytes
    bool operator==(const State&) const = default;
  };
  struct Entry {
    std::filesystem::path file;
    State state;
  };
  static State state_of(const std::filesystem::path& file);

  std::vector<Entry> entries_;
};

}  // namespace kvcalib
