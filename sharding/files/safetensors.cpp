// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/safetensors.h"

#include "sharding/files/error.h"
#include "sharding/files/file_bytes.h"
#include "sharding/files/safetensors_header.h"
#include "sharding/files/safetensors_writer.h"

namespace kvcalib {
namespace {

constexpr uint64_t kLengthBytes = SafetensorsHeader::kLengthBytes;

}  // namespace

std::string Safetensors::to_bytes() const {
  class Text final : public ByteSink {
   public:
    void append(std::span<const std::byte> bytes) override {
      text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    }
    std::string text;
  };
  SafetensorsHeader header;
  header.metadata = metadata;
  for (const auto& [name, tensor] : tensors) header.tensors[name] = {tensor.dtype, tensor.shape};
  Text file;
  SafetensorsWriter writer(file, header);
  for (const auto& [name, tensor] : tensors) writer.append(name, tensor.bytes);
  writer.finish();
  return std::move(file.text);
}

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
  return parse(read_file(path), path.string());
}

}  // namespace kvcalib
