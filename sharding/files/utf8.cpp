// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/utf8.h"

#include <cstdint>
#include <cstring>

namespace kvcalib {
namespace {

// Bytes of the well-formed character at the start of `bytes`, 0 when there is none.
size_t character_bytes(std::string_view bytes) {
  const auto at = [&](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const auto first = at(0);
  if (first < 0x80) return 1;
  const size_t count = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  if (first < 0xc2 || first > 0xf4 || bytes.size() < count) return 0;
  const int lowest = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
  const int highest = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  if (at(1) < lowest || at(1) > highest) return 0;
  for (size_t i = 2; i < count; ++i) {
    if ((at(i) & 0xc0) != 0x80) return 0;
  }
  return count;
}

}  // namespace

size_t first_invalid_utf8(std::string_view bytes) {
  size_t position = 0;
  while (position < bytes.size()) {
    uint64_t eight = ~uint64_t{0};
    if (position + 8 <= bytes.size()) std::memcpy(&eight, bytes.data() + position, 8);
    if ((eight & 0x8080808080808080) == 0) {
      position += 8;
      continue;
    }
    const size_t count = character_bytes(bytes.substr(position));
    if (count == 0) break;
    position += count;
  }
  return position;
}

}  // namespace kvcalib
