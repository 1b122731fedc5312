// SPDX-License-Identifier: Apache-2.0
#include "kernels/matrix_product.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/instruction_set.h"
#include "tests/kernels/kernel_test_data.h"

namespace kvcalib::kernels::cpu {
namespace {

constexpr float kUntouched = -7.0f;

// A row-major matrix packed as a whole.
std::vector<float> packed(const std::vector<float>& matrix, int64_t depth, int64_t columns,
                          const InstructionSet& set) {
  std::vector<float> out(static_cast<size_t>(packed_floats(depth, columns, set)), std::nanf(""));
  pack_columns({.source = matrix.data(),
                .row_stride = columns,
                .rows = depth,
                .columns = columns,
                .packed = out.data(),
                .depth = depth,
                .weight_columns = columns},
               set);
  return out;
}

// One element, summed as the kernel documents it.
float expected_element(const float* x, const float* weight, int64_t columns, int64_t depth,
                       float start, bool accumulate, bool fuses) {
  float total = accumulate ? start : 0.0f;
  for (int64_t first = 0; first < depth; first += kProductDepth) {
    float sum = 0.0f;
    for (int64_t i = first; i < std::min(first + kProductDepth, depth); ++i) {
      const float right = weight[i * columns];
      const volatile float product = x[i] * right;  // volatile: rounded by itself
      sum = fuses ? std::fma(x[i], right, sum) : sum + product;
    }
    total = first == 0 && !accumulate ? sum : sum + total;
  }
  return total;
}

struct Shape {
  int64_t rows, depth, columns;
};

void expect_product(const Shape& shape, bool accumulate, const InstructionSet& set) {
  const auto [rows, depth, columns] = shape;
  const int64_t x_stride = depth + 3, out_stride = columns + 5;
  const auto x = random_values<float>(rows * x_stride, 1);
  const auto weight = random_values<float>(depth * columns, 2);
  const auto panels = packed(weight, depth, columns, set);
  const std::vector<float> before(static_cast<size_t>(rows * out_stride), kUntouched);
  std::vector<float> out = before, scratch(kProductScratch);
  matrix_product({.x = x.data(),
                  .x_stride = x_stride,
                  .weight = panels.data(),
                  .out = out.data(),
                  .out_stride = out_stride,
                  .rows = rows,
                  .depth = depth,
                  .columns = columns,
                  .accumulate = accumulate,
                  .scratch = scratch.data()},
                 set);
  std::vector<float> expected = before;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < columns; ++column)
      expected[static_cast<size_t>(row * out_stride + column)] =
          expected_element(x.data() + row * x_stride, weight.data() + column, columns, depth,
                           kUntouched, accumulate, set.fuses);
  }
  EXPECT_TRUE(same_bits(out, expected))
      << set.name << ": " << rows << " x " << depth << " x " << columns << " + " << accumulate;
}

TEST(MatrixProduct, SumsEveryElementAsDocumentedOnEveryInstructionSet) {
  for (const InstructionSet* set : instruction_sets()) {
    for (const bool accumulate : {false, true}) {
      for (const int64_t rows : {1, 6, 11, 12, 13, 96, 100})
        for (const int64_t columns : {1, 8, 16, 31, 32, 33, 70})
          expect_product({rows, 37, columns}, accumulate, *set);
      for (const int64_t depth : {1, 511, 512, 513, 1030})
        expect_product({25, depth, 40}, accumulate, *set);
    }
  }
}

TEST(MatrixProduct, KeepsNanAndInfinityInTheirRowsAndColumns) {
  for (const InstructionSet* set : instruction_sets()) {
    const int64_t rows = 14, depth = 20, columns = 40;
    std::vector<float> x(rows * depth, 1.0f), weight(depth * columns, 1.0f);
    x[3 * depth + 5] = std::nanf("");
    weight[7 * columns + 35] = std::numeric_limits<float>::infinity();
    std::vector<float> out(rows * columns), scratch(kProductScratch);
    const auto panels = packed(weight, depth, columns, *set);
    matrix_product({.x = x.data(),
                    .x_stride = depth,
                    .weight = panels.data(),
                    .out = out.data(),
                    .out_stride = columns,
                    .rows = rows,
                    .depth = depth,
                    .columns = columns,
                    .scratch = scratch.data()},
                   *set);
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t column = 0; column < columns; ++column) {
        const float found = out[static_cast<size_t>(row * columns + column)];
        EXPECT_EQ(std::isnan(found), row == 3);
        EXPECT_EQ(std::isinf(found), row != 3 && column == 35);
      }
  }
}

TEST(MatrixProduct, RefusesWhatIsNotGivenOrOverlaps) {
  const InstructionSet& set = fastest_instruction_set();
  std::vector<float> values(100);
  MatrixProductArguments arguments{.x = values.data(),
                                   .x_stride = 4,
                                   .weight = values.data(),
                                   .out = values.data(),
                                   .out_stride = 4,
                                   .rows = 2,
                                   .depth = 4,
                                   .columns = 4};
  EXPECT_THROW(matrix_product(arguments, set), std::invalid_argument);  // no scratch memory
  arguments.scratch = values.data();
  arguments.x_stride = 3;
  EXPECT_THROW(matrix_product(arguments, set), std::invalid_argument);
}

// A block [rows, columns] of numbers that all types hold, at an offset in a weight of 70 x 90.
template <typename T>
void expect_packed(StoredType type, bool transposed, int64_t gap, int64_t step,
                   const InstructionSet& set) {
  const int64_t rows = 66, columns = 37, depth = 70, first_row = 3, first_column = 13;
  const int64_t row_stride = transposed ? gap : columns * gap;
  const int64_t column_stride = transposed ? rows * gap : gap;
  std::vector<T> source(static_cast<size_t>(rows * columns * gap), from_float<T>(9.0f));
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j)
      source[static_cast<size_t>(i * row_stride + j * column_stride)] =
          from_float<T>(static_cast<float>((i * 7 + j * 3) % 127 - 63) / 4.0f);
  std::vector<float> out(static_cast<size_t>(packed_floats(depth, 90, set)), kUntouched);
  std::vector<float> expected = out;
  pack_columns({.source = source.data(),
                .type = type,
                .row_stride = row_stride,
                .column_stride = column_stride,
                .rows = rows,
                .columns = columns,
                .packed = out.data(),
                .depth = depth,
                .weight_columns = 90,
                .first_row = first_row,
                .first_column = first_column,
                .column_step = step},
               set);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      const int64_t column = first_column + j * step, panel = column / set.panel_columns;
      const int64_t place = (panel * depth + first_row + i) * set.panel_columns;
      expected[static_cast<size_t>(place + column % set.panel_columns)] =
          to_float(source[static_cast<size_t>(i * row_stride + j * column_stride)]);
    }
  }
  EXPECT_TRUE(same_bits(out, expected))
      << set.name << ": transposed " << transposed << ", gap " << gap << ", step " << step;
}

TEST(PackColumns, PutsEveryTypeAndLayoutInItsPlace) {
  for (const InstructionSet* set : instruction_sets()) {
    for (const bool transposed : {false, true})
      for (const int64_t gap : {1, 2})
        for (const int64_t step : {1, 2}) {
          expect_packed<float>(StoredType::kFloat32, transposed, gap, step, *set);
          expect_packed<Half>(StoredType::kFloat16, transposed, gap, step, *set);
          expect_packed<Bfloat16>(StoredType::kBfloat16, transposed, gap, step, *set);
        }
  }
}

TEST(PackColumns, WidensEveryFiniteNumber) {
  for (const InstructionSet* set : instruction_sets()) {
    for (const StoredType type : {StoredType::kFloat16, StoredType::kBfloat16}) {
      std::vector<uint16_t> source(1 << 16);
      std::iota(source.begin(), source.end(), uint16_t{0});
      const int64_t rows = std::ssize(source) / set->panel_columns;
      std::vector<float> out(source.size());
      pack_columns({.source = source.data(),
                    .type = type,
                    .row_stride = set->panel_columns,
                    .rows = rows,
                    .columns = set->panel_columns,
                    .packed = out.data(),
                    .depth = rows,
                    .weight_columns = set->panel_columns},
                   *set);
      for (size_t i = 0; i < source.size(); ++i) {
        const float value = type == StoredType::kFloat16
                                ? to_float(std::bit_cast<Half>(source[i]))
                                : to_float(std::bit_cast<Bfloat16>(source[i]));
        if (!std::isfinite(value)) continue;
        ASSERT_EQ(out[i], value) << set->name << " " << i;
      }
    }
  }
}

TEST(PackColumns, RefusesABlockOutsideTheWeight) {
  std::vector<float> values(100);
  PackColumnsArguments block{.source = values.data(),
                             .row_stride = 1,
                             .rows = 5,
                             .columns = 3,
                             .packed = values.data(),
                             .depth = 5,
                             .weight_columns = 8,
                             .first_row = 1};
  EXPECT_THROW(pack_columns(block, fastest_instruction_set()), std::invalid_argument);
  block.first_row = 0;
  block.first_column = 4;
  block.column_step = 2;  // columns 4, 6, 8
  EXPECT_THROW(pack_columns(block, fastest_instruction_set()), std::invalid_argument);
}

}  // namespace
}  // namespace kvcalib::kernels::cpu
