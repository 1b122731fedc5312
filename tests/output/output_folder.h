// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>

#include "calibrate/output/output_names.h"
#include "sharding/files/error.h"

namespace kvcalib {

// Names and contents of files.
using Files = std::map<std::string, std::string>;

// A folder that is removed with the test: in memory where the machine has /dev/shm, because these
// tests make thousands of files and wait for each to reach the disk.
class OutputFolder {
 public:
  OutputFolder() {
    const std::filesystem::path memory = "/dev/shm";
    const bool usable = ::access(memory.c_str(), W_OK) == 0;
    std::string pattern =
        ((usable ? memory : std::filesystem::temp_directory_path()) / "kvcalib-test-XXXXXX")
            .string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~OutputFolder() { std::filesystem::remove_all(path_); }
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline std::string contents(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

inline void put(const std::filesystem::path& folder, const Files& files) {
  for (const auto& [name, bytes] : files) std::ofstream(folder / name, std::ios::binary) << bytes;
}

// What a program that opens files by name finds: through links, without what is hidden.
inline Files visible(const std::filesystem::path& folder) {
  Files files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with('.') && std::filesystem::exists(entry.path())) {
      files[name] = contents(entry.path());
    }
  }
  return files;
}

// Whether a folder holds plain files only: nothing hidden, no links, no folders.
inline bool is_tidy(const std::filesystem::path& folder) {
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().filename().string().starts_with('.') || entry.is_symlink() ||
        !entry.is_regular_file()) {
      return false;
    }
  }
  return true;
}

// How the files of the tests' sets are named: four, and parts of which one set may have more than
// another.
inline bool is_part(std::string_view name) { return name.find("part") != std::string_view::npos; }
inline bool is_well_formed_part(std::string_view name) {
  return name.starts_with("part.") && name.ends_with(".bin");
}
inline OutputNames set_names() {
  return {[](std::string_view name) {
            return name == "config" || name == "config.diff" || name == "statistics" ||
                   name == "summary" || is_well_formed_part(name);
          },
          is_well_formed_part, is_part, "part files", "config"};
}

// `layers` x `ranks` parts that say `mark`.
inline Files part_set(int64_t layers, int64_t ranks, const std::string& mark) {
  Files files;
  for (int64_t layer = 0; layer < layers; ++layer) {
    for (int64_t rank = 0; rank < ranks; ++rank) {
      files[concat("part.", layer, '.', rank, ".bin")] =
          concat(mark, " of ", ranks, ": ", layer, ", ", rank);
    }
  }
  return files;
}

inline Files joined(Files files, const Files& more) {
  for (const auto& [name, bytes] : more) files[name] = bytes;
  return files;
}

}  // namespace kvcalib
