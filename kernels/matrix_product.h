// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/require.h"

namespace kvcalib::kernels::cpu {

struct InstructionSet;

// How a block of a weight is stored.
enum class StoredType { kFloat32, kFloat16, kBfloat16 };

// The arguments of a copy of a block of a weight [depth, columns] to its place in the weight's
// packed form: panels of InstructionSet::panel_columns columns, each float32 [depth,
// panel_columns], one after the other. Beyond the last column they may hold anything.
struct PackColumnsArguments {
  const void* source = nullptr;  // column j of the block is column first_column + j column_step
  StoredType type = StoredType::kFloat32;
  int64_t row_stride = 0, column_stride = 1;  // elements
  int64_t rows = 0, columns = 0;              // of the block
  float* packed = nullptr;
  int64_t depth = 0, weight_columns = 0;                     // of the weight
  int64_t first_row = 0, first_column = 0, column_step = 1;  // the block's place in the weight

  void check() const {
    require(rows >= 0 && columns >= 0 && column_step > 0, "pack_columns: sizes are not negative");
    require(0 <= first_row && first_row + rows <= depth && 0 <= first_column &&
                (columns == 0 || first_column + (columns - 1) * column_step < weight_columns),
            "pack_columns: the block lies in the weight");
    require(rows == 0 || columns == 0 || (source != nullptr && packed != nullptr),
            "pack_columns: source and packed are given");
  }
};

// The arguments of out = x weight, in fp32; `accumulate`: out += instead.
struct MatrixProductArguments {
  const float* x = nullptr;       // [rows, depth]
  int64_t x_stride = 0;           // elements between rows
  const float* weight = nullptr;  // [depth, columns], packed
  float* out = nullptr;           // [rows, columns]
  int64_t out_stride = 0;
  int64_t rows = 0, depth = 0, columns = 0;
  bool accumulate = false;
  float* scratch = nullptr;  // kProductScratch floats

  void check() const {
    require(rows >= 0 && columns > 0 && depth > 0, "matrix_product: depth and columns > 0");
    require(rows <= 1 || (x_stride >= depth && out_stride >= columns),
            "matrix_product: rows do not overlap");
    require(
        rows == 0 || (x != nullptr && weight != nullptr && out != nullptr && scratch != nullptr),
        "matrix_product: x, weight, out and scratch are given");
  }
};

// Products of an element that are summed by themselves before they are added to it.
inline constexpr int64_t kProductDepth = 512;
inline constexpr int64_t kProductRows = 96;  // that are taken together
inline constexpr int64_t kProductScratch = kProductDepth * kProductRows;

// Floats of the packed form of a weight.
int64_t packed_floats(int64_t depth, int64_t columns, const InstructionSet& set);

// Both on one thread, in host memory.  They throw std::invalid_argument for inconsistent arguments.
// An element of out has the same bits whatever is computed beside it, and with every instruction
// set that has fused multiply-add: the sums of kProductDepth products, each from the first to the
// last, added from the first to the last.
void pack_columns(const PackColumnsArguments& arguments, const InstructionSet& set);
void matrix_product(const MatrixProductArguments& arguments, const InstructionSet& set);

}  // namespace kvcalib::kernels::cpu
