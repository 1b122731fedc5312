// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>

#include "kernels/strided_copy16.h"

namespace kvcalib::kernels::cpu {
namespace {

constexpr int64_t kLanes = 8;
constexpr int64_t kTile = 32;  // columns whose cache lines are filled together

typedef uint16_t Lanes __attribute__((vector_size(2 * kLanes)));

// Three riffles, each of which rotates the six bits of (row, column) by one, make a transposition.
inline void riffle(const Lanes (&in)[kLanes], Lanes (&out)[kLanes]) {
  for (int64_t i = 0; i < kLanes / 2; ++i) {
    const Lanes low = in[i], high = in[i + kLanes / 2];
    out[2 * i] = __builtin_shufflevector(low, high, 0, 8, 1, 9, 2, 10, 3, 11);
    out[2 * i + 1] = __builtin_shufflevector(low, high, 4, 12, 5, 13, 6, 14, 7, 15);
  }
}

// 8 rows and 8 columns of a source whose columns are contiguous.
void transpose_square(const StridedCopy16Arguments& copy, int64_t row, int64_t column) {
  Lanes even[kLanes], odd[kLanes];
  const uint16_t* const source = copy.source + row + column * copy.source_column_stride;
  for (int64_t i = 0; i < kLanes; ++i)
    std::memcpy(&even[i], source + i * copy.source_column_stride, sizeof(Lanes));
  riffle(even, odd);
  riffle(odd, even);
  riffle(even, odd);
  const int64_t step = copy.target_column_stride;
  uint16_t* const target = copy.target + row * copy.target_row_stride + column * step;
  for (int64_t i = 0; i < kLanes; ++i) {
    uint16_t* const target_row = target + i * copy.target_row_stride;
    if (step == 1)
      std::memcpy(target_row, &odd[i], sizeof(Lanes));
    else
      for (int64_t j = 0; j < kLanes; ++j) target_row[j * step] = odd[i][j];
  }
}

void copy_elements(const StridedCopy16Arguments& copy, int64_t first_row, int64_t last_row,
                   int64_t first_column, int64_t last_column) {
  for (int64_t row = first_row; row < last_row; ++row) {
    const uint16_t* const source = copy.source + row * copy.source_row_stride;
    uint16_t* const target = copy.target + row * copy.target_row_stride;
    for (int64_t column = first_column; column < last_column; ++column)
      target[column * copy.target_column_stride] = source[column * copy.source_column_stride];
  }
}

void copy_transposed(const StridedCopy16Arguments& copy) {
  const int64_t whole_rows = copy.rows / kLanes * kLanes;
  const int64_t whole_columns = copy.columns / kLanes * kLanes;
  for (int64_t tile = 0; tile < whole_columns; tile += kTile) {
    const int64_t tile_end = std::min(tile + kTile, whole_columns);
    for (int64_t row = 0; row < whole_rows; row += kLanes) {
      for (int64_t column = tile; column < tile_end; column += kLanes)
        transpose_square(copy, row, column);
    }
  }
  copy_elements(copy, 0, whole_rows, whole_columns, copy.columns);
  copy_elements(copy, whole_rows, copy.rows, 0, copy.columns);
}

}  // namespace

void strided_copy16(const StridedCopy16Arguments& arguments) {
  arguments.check();
  if (arguments.source_column_stride == 1 && arguments.target_column_stride == 1) {
    for (int64_t row = 0; row < arguments.rows; ++row)
      std::memcpy(arguments.target + row * arguments.target_row_stride,
                  arguments.source + row * arguments.source_row_stride,
                  static_cast<size_t>(arguments.columns) * sizeof(uint16_t));
  } else if (arguments.source_row_stride == 1) {
    copy_transposed(arguments);
  } else {
    copy_elements(arguments, 0, arguments.rows, 0, arguments.columns);
  }
}

}  // namespace kvcalib::kernels::cpu
