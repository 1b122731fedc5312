// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/weight_directory.h"

#include "sharding/files/file_kind.h"
#include "sharding/formats/turbomind_layout.h"

namespace kvcalib {

bool is_hugging_face(const std::filesystem::path& directory) {
  return kind_behind(directory / "config.json") != FileKind::kNothing &&
         kind_behind(directory / kTurboMindConfig) == FileKind::kNothing;
}

}  // namespace kvcalib
