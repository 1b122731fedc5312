// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/input_file.h"

#include <vector>

#include "sharding/files/error.h"
#include "sharding/files/sha256.h"

namespace kvcalib {
namespace {

constexpr size_t kPieceBytes = 1 << 18;

}  // namespace

InputFile::InputFile(const std::filesystem::path& path) : name_(path.string()), file_(path) {}

size_t InputFile::read(uint64_t offset, std::span<char> bytes) const {
  return file_.read_some(offset, std::as_writable_bytes(bytes));
}

std::string InputFile::read_exactly(uint64_t offset, size_t count) const {
  std::string bytes(count, '\0');
  if (read(offset, bytes) != count) {
    throw Error(concat(name_, ": ends before byte ", offset + count,
                       "; was it changed while it was read?"));
  }
  return bytes;
}

HashedFile hash_file(const std::filesystem::path& path, const ByteConsumer& sink) {
  const InputFile file(path);
  HashedFile hashed{path, 0, ""};
  Sha256 digest;
  std::vector<char> buffer(kPieceBytes);
  for (;;) {
    const size_t count = file.read(hashed.bytes, buffer);
    const std::span<const char> piece = std::span(buffer).first(count);
    digest.update(std::as_bytes(piece));
    hashed.bytes += count;
    if (sink && count > 0) sink({piece.data(), count});
    if (count < buffer.size()) break;
  }
  hashed.sha256 = digest.hex();
  return hashed;
}

}  // namespace kvcalib
