// SPDX-License-Identifier: Apache-2.0
#include "kernels/strided_copy16.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

namespace kvcalib::kernels {
namespace {

// Element (i, j) of the target is that of the source, and what lies between stays as it was.
void expect_copied(int64_t rows, int64_t columns, bool transposed, int64_t step) {
  std::vector<uint16_t> source(static_cast<size_t>(rows * columns));
  std::iota(source.begin(), source.end(), uint16_t{1});
  const int64_t width = columns * step + 3;
  std::vector<uint16_t> target(static_cast<size_t>(rows * width), 0);
  const int64_t row_stride = transposed ? 1 : columns, column_stride = transposed ? rows : 1;
  cpu::strided_copy16({.source = source.data(),
                       .source_row_stride = row_stride,
                       .source_column_stride = column_stride,
                       .target = target.data(),
                       .target_row_stride = width,
                       .target_column_stride = step,
                       .rows = rows,
                       .columns = columns});
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < width; ++column) {
      const bool copied = column % step == 0 && column / step < columns;
      const int64_t place = row * row_stride + column / step * column_stride;
      ASSERT_EQ(target[static_cast<size_t>(row * width + column)],
                copied ? source[static_cast<size_t>(place)] : 0)
          << rows << " x " << columns << ", step " << step << " at " << row << ", " << column;
    }
  }
}

TEST(StridedCopy16, CopiesEveryLayoutAndSize) {
  for (const int64_t rows : {1, 7, 8, 9, 64}) {
    for (const int64_t columns : {1, 5, 8, 33, 72}) {
      for (const bool transposed : {false, true}) {
        expect_copied(rows, columns, transposed, 1);
        expect_copied(rows, columns, transposed, 2);
      }
    }
  }
}

TEST(StridedCopy16, RefusesWhatIsNotGiven) {
  EXPECT_THROW(cpu::strided_copy16({.rows = 1, .columns = 1}), std::invalid_argument);
  EXPECT_THROW(cpu::strided_copy16({.rows = -1}), std::invalid_argument);
}

}  // namespace
}  // namespace kvcalib::kernels
