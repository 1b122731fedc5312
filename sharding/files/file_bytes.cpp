// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/file_bytes.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "sharding/files/error.h"

namespace kvcalib {

std::string read_file(const std::filesystem::path& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"),
                                                             &std::fclose);
  std::string bytes;
  if (file != nullptr) {
    char block[65536];
    while (const size_t got = std::fread(block, 1, sizeof block, file.get())) {
      bytes.append(block, got);
    }
  }
  if (file == nullptr || std::ferror(file.get()) != 0) {
    throw Error(concat(path.string(), ": cannot be read: ", std::strerror(errno)));
  }
  return bytes;
}

}  // namespace kvcalib
