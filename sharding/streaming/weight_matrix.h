// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace kvcalib {

// Some columns of a matrix: column, column + column_step, ... over the rows from `row` on.
struct WeightBlock {
  int64_t row = 0, column = 0, column_step = 1;
  at::Tensor values;  // [rows, columns], of any strides
};

// A weight matrix [in, out], whole in memory though perhaps in pieces, as its files cut it.
class WeightMatrix {
 public:
  WeightMatrix() = default;
  // The blocks cover the matrix.  Blocks of another type than `type` are rounded to it before
  // anything else is made of them: that is what the runtime will have.
  WeightMatrix(int64_t rows, int64_t columns, at::ScalarType type, std::vector<WeightBlock> blocks);
  explicit WeightMatrix(const at::Tensor& whole);
  // A matrix that is kept in the form in which the engine multiplies on the CPU, and in no other.
  static WeightMatrix packed(int64_t rows, int64_t columns, const at::Tensor& form);

  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }

  // Fills `target` [rows, count] with columns [first, first + count), converted to its type.
  void copy_columns(int64_t first, int64_t count, const at::Tensor& target) const;
  // Columns [first, first + count) as a matrix; nothing is copied.
  WeightMatrix narrow(int64_t first, int64_t count) const;
  // The matrix as one tensor; only where it is one block.
  const at::Tensor& whole() const;
  // Its pieces, in no order, and the type that they are rounded to.
  const std::vector<WeightBlock>& blocks() const { return blocks_; }
  at::ScalarType type() const { return type_; }
  // Undefined where it is not kept so.
  const at::Tensor& packed_form() const { return packed_; }

 private:
  int64_t rows_ = 0, columns_ = 0;
  at::ScalarType type_ = at::kFloat;
  std::vector<WeightBlock> blocks_;
  at::Tensor packed_;
};

}  // namespace kvcalib
