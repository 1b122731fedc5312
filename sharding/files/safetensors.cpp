// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/safetensors.h"

#include <nlohmann/json.hpp>

#include "sharding/files/error.h"
#include "sharding/files/file_bytes.h"
#include "sharding/files/safetensors_header.h"

namespace kvcalib {
namespace {

using nlohmann::json;

constexpr uint64_t kLengthBytes = SafetensorsHeader::kLengthBytes;
constexpr uint64_t kHeaderAlignment = 8;

}  // namespace

std::string Safetensors::to_bytes() const {
  json header = json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    const uint64_t expected =
        tensor_bytes(concat("tensor '", name, "'"), tensor.dtype, tensor.shape);
    if (tensor.bytes.size() != expected) {
      throw Error(concat("tensor '", name, "' has ", tensor.bytes.size(),
                         " bytes, its shape needs ", expected));
    }
    header[name] = {{"dtype", tensor.dtype},
                    {"shape", tensor.shape},
                    {"data_offsets", {offset, offset + expected}}};
    offset += expected;
  }
  std::string text = header.dump(-1, ' ', false, json::error_handler_t::replace);
  text.resize((text.size() + kHeaderAlignment - 1) / kHeaderAlignment * kHeaderAlignment, ' ');

  std::string bytes;
  bytes.reserve(kLengthBytes + text.size() + offset);
  for (uint64_t i = 0; i < kLengthBytes; ++i) {
    bytes.push_back(static_cast<char>(static_cast<uint64_t>(text.size()) >> (8 * i)));
  }
  bytes += text;
  for (const auto& [name, tensor] : tensors) bytes += tensor.bytes;
  return bytes;
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
