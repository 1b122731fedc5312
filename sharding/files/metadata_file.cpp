// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/metadata_file.h"

#include <algorithm>
#include <span>

#include "sharding/files/error.h"
#include "sharding/files/ranged_file.h"

namespace kvcalib {
namespace {

constexpr uint64_t kPieceBytes = 1 << 16;

[[noreturn]] void refuse_size(const std::filesystem::path& path, uint64_t found, uint64_t most) {
  throw Error(concat(path.string(), ": has ", found, " bytes or more, expected at most ", most,
                     "; another file has its name"));
}

}  // namespace

std::string read_metadata_file(const std::filesystem::path& path, uint64_t most) {
  const RangedFile file(path);
  if (file.bytes() > most) refuse_size(path, file.bytes(), most);
  std::string bytes;
  // Until the end is met: files of the system state no size, and others can grow meanwhile.
  for (uint64_t next = file.bytes() + 1;; next = kPieceBytes) {
    const size_t before = bytes.size();
    bytes.resize(before + next);
    const size_t got =
        file.read_some(before, std::as_writable_bytes(std::span(bytes)).subspan(before));
    bytes.resize(before + got);
    if (bytes.size() > most) refuse_size(path, bytes.size(), most);
    if (got < next) return bytes;
  }
}

}  // namespace kvcalib
