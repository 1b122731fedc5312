// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace kvcalib {

// Where a tensor of a directory lies.
struct TensorPlace {
  std::filesystem::path file;
  uint64_t offset = 0;  // bytes, in the file
  uint64_t bytes = 0;
  std::string dtype;
  std::vector<int64_t> shape;
};

// What the safetensors files of a directory hold, by the tensors' names.
using SafetensorsIndex = std::map<std::string, TensorPlace>;

// Reads the headers, and nothing else, of all model*.safetensors of a directory and of the files
// that its model.safetensors.index.json names, if it has one.  Throws Error naming the file: a
// malformed header, a tensor in two files, an index that names a file that is not there or a tensor
// that the file does not hold.  Empty where the directory has no such file.
SafetensorsIndex read_safetensors_index(const std::filesystem::path& directory);

}  // namespace kvcalib
