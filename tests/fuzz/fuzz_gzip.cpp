// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/gzip_index.h"
#include "sharding/files/error.h"
#include "tests/fuzz/memory_file.h"

namespace kvcalib {
namespace {

constexpr size_t kMostContents = size_t{8} << 20;
constexpr size_t kPiece = 100;  // bytes, so that members and blocks are cut

}  // namespace

// A gzip file that arrives in pieces, then any part of its contents.
void fuzz(std::string_view bytes) {
  static const MemoryFile kFile;
  GzipScanner scanner("file");
  std::string contents;
  const ByteConsumer sink = [&](std::string_view piece) {
    contents += piece;
    if (contents.size() > kMostContents) throw Error("more than is looked at");
  };
  for (size_t at = 0; at < bytes.size(); at += kPiece) scanner.feed(bytes.substr(at, kPiece), sink);
  const GzipIndex index = scanner.finish();
  const InputFile input(kFile.hold(bytes));
  const size_t half = contents.size() / 2;
  require(index.read(input, 0, contents.size()) == contents);
  require(index.read(input, half, contents.size() - half) == contents.substr(half));
}

}  // namespace kvcalib
