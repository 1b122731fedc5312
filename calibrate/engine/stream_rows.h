// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace kvcalib {

// The hidden states of one stream: of all rows that a rank has, it takes neighbours.
struct StreamRows {
  std::string name;  // in messages
  int64_t first = 0;
  at::Tensor hidden;  // [rows, hidden]: of rows [first, first + rows)

  // Rows that stand together are all a stream's, or none.
  bool has(int64_t row, int64_t count) const {
    return first <= row && row + count <= first + hidden.size(0);
  }
  at::Tensor rows(int64_t row, int64_t count) const { return hidden.narrow(0, row - first, count); }
};

}  // namespace kvcalib
