// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "sharding/formats/weight_directory.h"

namespace kvcalib {

// Fills `target` [rows, hidden], of any floating type and device, with rows of a table, rounded to
// the model's type.  Only the rows named are read.  Throws Error when a row is not finite or the
// file cannot be read.
void read_rows(const EmbeddingTable& table, const ModelConfig& config,
               std::span<const int32_t> rows, const at::Tensor& target);

// Fills `hidden` [ids, hidden], of any floating type and device, with the embedding rows of `ids`.
// Throws Error as read_rows does, and for a table that refuse_zeros refuses.
void embed_tokens(const WeightDirectory& directory, std::span<const int32_t> ids,
                  const at::Tensor& hidden);

}  // namespace kvcalib
