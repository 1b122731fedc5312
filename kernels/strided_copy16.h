// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/require.h"

namespace kvcalib::kernels {

// The arguments of a copy of a matrix of 16-bit elements from one layout into another.
struct StridedCopy16Arguments {
  const uint16_t* source = nullptr;
  int64_t source_row_stride = 0, source_column_stride = 1;  // elements
  uint16_t* target = nullptr;
  int64_t target_row_stride = 0, target_column_stride = 1;
  int64_t rows = 0, columns = 0;

  void check() const {
    require(rows >= 0 && columns >= 0, "strided_copy16: rows, columns >= 0");
    require(rows == 0 || columns == 0 || (source != nullptr && target != nullptr),
            "strided_copy16: source and target are given");
  }
};

namespace cpu {

// Source and target do not overlap.  Fast where rows lie together in both, and where the source is
// transposed.  Throws std::invalid_argument for inconsistent arguments.
void strided_copy16(const StridedCopy16Arguments& arguments);

}  // namespace cpu
}  // namespace kvcalib::kernels
