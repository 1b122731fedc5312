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
struct SafetensorsIndex {
  std::map<std::string, TensorPlace> tensors;
  std::vector<std::string> warnings;  // of files that are not read, a sentence each

  bool has(const std::string& name) const { return tensors.contains(name); }
};

// Reads the headers, and nothing else, of the files that model.safetensors.index.json names.  It is
// the authority: a tensor is where it says, whatever other files hold; what it does not name counts
// where it is in one of its files.  Other shards beside them are warned of.  Without an index: of
// all model*.safetensors.  Throws Error naming the file: a malformed header, a tensor in two files
// of which nothing says which, an index that names a file that is not there or a tensor that the
// file does not hold, a model.safetensors beside an index that does not name it.  No tensors where
// the directory has no such file.
SafetensorsIndex read_safetensors_index(const std::filesystem::path& directory);

}  // namespace kvcalib
