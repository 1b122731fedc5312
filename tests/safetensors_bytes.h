// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "sharding/files/safetensors.h"
#include "sharding/files/safetensors_writer.h"

namespace kvcalib {

// A file's bytes, kept.
class TextSink final : public ByteSink {
 public:
  using ByteSink::append;
  void append(std::span<const std::byte> bytes) override {
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  std::string text;
};

inline SafetensorsHeader header_of(const Safetensors& file) {
  SafetensorsHeader header;
  header.metadata = file.metadata;
  for (const auto& [name, tensor] : file.tensors)
    header.tensors[name] = {tensor.dtype, tensor.shape};
  return header;
}

// The bytes of a file that is whole in memory, each tensor written in pieces of `piece` bytes.
inline std::string safetensors_bytes(const Safetensors& file, size_t piece = size_t{1} << 20) {
  TextSink sink;
  SafetensorsWriter writer(sink, header_of(file));
  for (const auto& [name, tensor] : file.tensors) {
    for (size_t i = 0; i < tensor.bytes.size(); i += piece)
      writer.append(name, std::string_view(tensor.bytes).substr(i, piece));
  }
  writer.finish();
  return sink.text;
}

}  // namespace kvcalib
