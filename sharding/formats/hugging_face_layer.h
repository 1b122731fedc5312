// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sharding/formats/layer_plan.h"
#include "sharding/formats/model_family.h"

namespace kvcalib {

// Rows of a stored tensor: row first + i is column `column + i * step` of a whole tensor.
struct StoredRows {
  LayerTensor tensor;
  int64_t first = 0, count = 0;
  int64_t column = 0, step = 1;
};

// A tensor as a Hugging Face model stores it, and what its rows are.
struct StoredTensor {
  std::string name;
  std::vector<int64_t> shape;  // [out, in], or [out] for a vector
  std::vector<StoredRows> rows;
};

// The tensors of a layer.  Their rows form its whole tensors, q and k rotating in interleaved pairs
// (2j, 2j + 1), where the model stores the first of all pairs of a head, then the second.
std::vector<StoredTensor> stored_tensors(const ModelConfig& config, const ModelFamily& family,
                                         int64_t layer);

}  // namespace kvcalib
