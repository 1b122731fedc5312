// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "sharding/formats/weight_directory.h"

namespace kvcalib {

// Fills `hidden` [ids, hidden], of any floating type and device, with the embedding rows of `ids`.
// Only the rows named are read.  Throws Error when a row is not finite or the file cannot be read.
void embed_tokens(const WeightDirectory& directory, std::span<const int32_t> ids,
                  const at::Tensor& hidden);

}  // namespace kvcalib
