// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "sharding/files/ranged_file.h"

namespace kvcalib {

// A file open for reading at any place.  Every method throws Error naming the file and the system's
// reason.
class InputFile {
 public:
  explicit InputFile(const std::filesystem::path& path);

  // Fills `bytes` from `offset` on.  Returns how many there were: fewer only at the file's end.
  size_t read(uint64_t offset, std::span<char> bytes) const;
  // The bytes [offset, offset + count); Error when the file ends before.
  std::string read_exactly(uint64_t offset, size_t count) const;
  uint64_t bytes() const { return file_.bytes(); }  // when it was opened
  const std::string& name() const { return name_; }

 private:
  std::string name_;
  RangedFile file_;
};

// A file as it was read, whole.
struct HashedFile {
  std::filesystem::path path;
  uint64_t bytes = 0;
  std::string sha256;  // 64 hexadecimal digits
};

// Receives the next bytes of a stream.
using ByteConsumer = std::function<void(std::string_view bytes)>;

// Reads the whole file once, in pieces that `sink` may look at.
HashedFile hash_file(const std::filesystem::path& path, const ByteConsumer& sink = {});

}  // namespace kvcalib
