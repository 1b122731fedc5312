// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "sharding/formats/turbomind_directory.h"

namespace kvcalib {

// The embedding rows of `ids` as [ids, hidden] with the given type and device.  Only the rows named
// are read.  Throws Error when a row is not finite or the file cannot be read.
at::Tensor embed_tokens(const TurboMindDirectory& directory, std::span<const int32_t> ids,
                        const at::TensorOptions& options);

}  // namespace kvcalib
