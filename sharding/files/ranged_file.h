// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace kvcalib {

// A regular file open for reading at any place, by several threads at once.
class RangedFile {
 public:
  // Throws Error naming the path and the system's reason, or what is there in a file's place: a
  // directory, pipe, socket or device, none of which it waits for, or the pointer that Git LFS
  // leaves (https://github.com/git-lfs/git-lfs, docs/spec.md).
  explicit RangedFile(const std::filesystem::path& path);
  ~RangedFile();
  RangedFile(const RangedFile&) = delete;
  RangedFile& operator=(const RangedFile&) = delete;

  uint64_t bytes() const { return bytes_; }  // when it was opened
  // Fills `out` from `offset` on.  Returns how many bytes there were: fewer only at the file's end.
  size_t read_some(uint64_t offset, std::span<std::byte> out) const;
  // Fills `out` with the bytes from `offset` on.  Throws Error when the file cannot be read or ends
  // before.
  void read(uint64_t offset, std::span<std::byte> out) const;
  // The bytes will be read soon: unless the first of them is in the page cache, they are fetched
  // meanwhile.
  void will_read(uint64_t offset, uint64_t bytes) const;

 private:
  void check_kind();
  bool is_cached(uint64_t offset) const;

  std::filesystem::path path_;
  int descriptor_;
  uint64_t bytes_ = 0;
};

// Whether a file is there to be read: false only where nothing has that name.  Throws Error as
// RangedFile does for what is there and is none, as a link to nothing or a pipe.
bool is_file_there(const std::filesystem::path& path);

}  // namespace kvcalib
