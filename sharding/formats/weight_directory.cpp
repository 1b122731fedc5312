// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/weight_directory.h"

#include "sharding/formats/turbomind_layout.h"

namespace kvcalib {

bool is_hugging_face(const std::filesystem::path& directory) {
  return std::filesystem::exists(directory / "config.json") &&
         !std::filesystem::exists(directory / kTurboMindConfig);
}

}  // namespace kvcalib
