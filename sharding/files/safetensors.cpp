// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/safetensors.h"

#include "sharding/files/metadata_file.h"
#include "sharding/files/safetensors_header.h"

namespace kvcalib {
namespace {

constexpr uint64_t kLengthBytes = SafetensorsHeader::kLengthBytes;

}  // namespace

Safetensors Safetensors::parse(std::string_view bytes, const std::string& origin) {
  const uint64_t length =
      SafetensorsHeader::length(bytes.substr(0, kLengthBytes), bytes.size(), origin);
  const std::string_view data = bytes.substr(kLengthBytes + length);
  SafetensorsHeader header =
      SafetensorsHeader::parse(bytes.substr(kLengthBytes, length), data.size(), origin);
  Safetensors file;
  file.metadata = std::move(header.metadata);
  for (auto& [name, tensor] : header.tensors) {
    file.tensors[name] = {std::move(tensor.dtype), std::move(tensor.shape),
                          std::string(data.substr(tensor.begin, tensor.end - tensor.begin))};
  }
  return file;
}

Safetensors Safetensors::read(const std::filesystem::path& path) {
  return parse(read_metadata_file(path), path.string());
}

}  // namespace kvcalib
