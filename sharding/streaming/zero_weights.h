// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "sharding/formats/weight_directory.h"

namespace kvcalib {

// Throws Error naming the tensor where its bytes are zeros from its middle or an earlier place to
// its end, as a copy that was cut off leaves a file of the right size.  Rows of padding do not come
// near that.  Reads the tensor from its end backwards, as far as it is zeros.
void refuse_zeros(const FileRange& tensor);
void refuse_zeros(const EmbeddingTable& table, const ModelConfig& config);

}  // namespace kvcalib
