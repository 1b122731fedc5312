// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/safetensors.h"
#include "tests/fuzz/fuzz_target.h"

namespace kvcalib {

// A safetensors file, whole in memory.
void fuzz(std::string_view bytes) {
  uint64_t held = 0;
  for (const auto& [name, tensor] : Safetensors::parse(bytes, "file").tensors)
    held += tensor.bytes.size();
  require(held <= bytes.size());
}

}  // namespace kvcalib
