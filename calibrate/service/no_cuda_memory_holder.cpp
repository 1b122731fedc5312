// SPDX-License-Identifier: Apache-2.0
#include <stdexcept>

#include "calibrate/service/memory_holder.h"

namespace kvcalib {

// Nobody can have a GPU to ask about.
std::unique_ptr<MemoryHolder> open_memory_holder(int /*gpu*/) {
  throw std::logic_error("open_memory_holder: built without CUDA");
}

}  // namespace kvcalib
