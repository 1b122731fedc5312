// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/util/Exception.h>

namespace kvcalib {

// From then on a CPU tensor for which there is no memory throws c10::OutOfMemoryError, as one on a
// GPU does: of Torch's own CPU allocator only the text of its error tells.
void throw_out_of_memory_on_cpu();

// Whether what failed is that a device or the host had no memory left.
bool is_out_of_memory(const c10::Error& failure);

}  // namespace kvcalib
