// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/weight_files.h"

#include <algorithm>

#include "sharding/formats/turbomind_layout.h"

namespace kvcalib {

std::vector<std::filesystem::path> weight_files(const WeightDirectory& directory) {
  std::vector<std::filesystem::path> files{
      directory.path() / (directory.runtime_config() != nullptr ? kTurboMindConfig : "config.json"),
      directory.embedding().file, directory.head().file, directory.final_norm().file};
  for (int64_t layer = 0; layer < directory.config().layers; ++layer) {
    for (const FileRange& range : directory.layer_plan(layer).ranges) files.push_back(range.file);
  }
  std::sort(files.begin(), files.end());
  files.erase(std::unique(files.begin(), files.end()), files.end());
  return files;
}

}  // namespace kvcalib
