// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/preset.h"
#include "tests/fuzz/memory_file.h"
#include "tests/fuzz/sane_model.h"

namespace kvcalib {

// A preset, as --dry-run reads it.
void fuzz(std::string_view bytes) {
  static const MemoryFile kFile;
  require_sane(read_preset(kFile.hold(bytes)));
}

}  // namespace kvcalib
