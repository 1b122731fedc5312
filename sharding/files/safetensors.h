// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace kvcalib {

// A tensor as a safetensors file holds it: little-endian, row-major.
struct SafetensorsTensor {
  std::string dtype;  // "F32", "BF16", ...
  std::vector<int64_t> shape;
  std::string bytes;
};

// A whole safetensors file in memory (https://github.com/huggingface/safetensors, "Format"): eight
// bytes of header length, a JSON header, the tensors' bytes.
struct Safetensors {
  std::map<std::string, SafetensorsTensor> tensors;
  std::map<std::string, std::string> metadata;

  // Throw Error naming file and tensor when the header is cut, too long or not the JSON that the
  // format demands, when a tensor's range is not inside the file or not its shape's size, or when
  // the ranges overlap or leave bytes unclaimed.
  static Safetensors parse(std::string_view bytes, const std::string& origin);
  static Safetensors read(const std::filesystem::path& path);
};

}  // namespace kvcalib
