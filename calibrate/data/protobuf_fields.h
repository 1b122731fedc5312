// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

namespace kvcalib {

// Walks the fields of a protocol buffer message (wire format of protobuf.dev): SentencePiece hands
// its ModelProto out, but its package installs no header that says what is in it.
class ProtobufFields {
 public:
  explicit ProtobufFields(std::string_view message) : rest_(message) {}

  // Moves to the next field; false at the end and at anything malformed.
  bool next() {
    uint64_t tag = 0;
    bytes_ = {};
    if (rest_.empty() || !varint(tag)) return false;
    number_ = tag >> 3;
    uint64_t bytes = 0;
    switch (tag & 7) {
      case 0:
        return varint(bytes);
      case 1:
        return take(8);
      case 2:
        return varint(bytes) && take(bytes);
      case 5:
        return take(4);
      default:
        return false;
    }
  }
  uint64_t number() const { return number_; }
  // What the field holds; nothing where it is a number of varying length.
  std::string_view bytes() const { return bytes_; }

 private:
  bool varint(uint64_t& value) {
    for (int shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 127) << shift;
      if (byte < 128) return true;
    }
    return false;
  }
  bool take(uint64_t count) {
    if (count > rest_.size()) return false;
    bytes_ = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return true;
  }

  std::string_view rest_;
  std::string_view bytes_;
  uint64_t number_ = 0;
};

}  // namespace kvcalib
