// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/excerpt.h"

namespace kvcalib {
namespace {

constexpr size_t kLongest = 80;

}  // namespace

std::string excerpt(std::string_view text) {
  const auto continues = [&](size_t at) { return (text[at] & 0xc0) == 0x80; };  // UTF-8's bytes
  size_t end = text.size();
  if (end > kLongest) {
    end = kLongest;
    while (end > 0 && continues(end)) --end;
  }
  std::string line(text.substr(0, end));
  for (char& c : line)
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = '?';
  return end < text.size() ? line + "..." : line;
}

}  // namespace kvcalib
