// SPDX-License-Identifier: Apache-2.0
#include "sharding/streaming/weight_matrix.h"

#include <algorithm>
#include <optional>

namespace kvcalib {
namespace {

// The part of a block that lies in columns [first, first + count), counted from `first`.
std::optional<WeightBlock> clipped(const WeightBlock& block, int64_t first, int64_t count) {
  const int64_t step = block.column_step;
  // The number of the block's columns before column `end` of the matrix.
  const auto columns_before = [&](int64_t end) {
    return std::clamp<int64_t>((end - block.column + step - 1) / step, 0, block.values.size(1));
  };
  const int64_t begin = first > block.column ? columns_before(first) : 0;
  const int64_t end = first + count > block.column ? columns_before(first + count) : 0;
  if (begin >= end) return std::nullopt;
  return WeightBlock{block.row, block.column + begin * step - first, step,
                     block.values.narrow(1, begin, end - begin)};
}

}  // namespace

WeightMatrix::WeightMatrix(int64_t rows, int64_t columns, at::ScalarType type,
                           std::vector<WeightBlock> blocks)
    : rows_(rows), columns_(columns), type_(type), blocks_(std::move(blocks)) {
  int64_t elements = 0;
  for (const WeightBlock& block : blocks_) elements += block.values.numel();
  TORCH_CHECK(elements == rows_ * columns_, "blocks of ", elements, " elements for a matrix of ",
              rows_, " x ", columns_);
}

WeightMatrix WeightMatrix::packed(int64_t rows, int64_t columns, const at::Tensor& form) {
  WeightMatrix matrix;
  matrix.rows_ = rows;
  matrix.columns_ = columns;
  matrix.packed_ = form;
  return matrix;
}

WeightMatrix::WeightMatrix(const at::Tensor& whole)
    : WeightMatrix(whole.size(0), whole.size(1), whole.scalar_type(), {{0, 0, 1, whole}}) {}

void WeightMatrix::copy_columns(int64_t first, int64_t count, const at::Tensor& target) const {
  TORCH_CHECK(target.size(0) == rows_ && target.size(1) == count, "target is ", target.sizes());
  for (const WeightBlock& block : blocks_) {
    const std::optional<WeightBlock> part = clipped(block, first, count);
    if (!part) continue;
    const int64_t last = part->column + (part->values.size(1) - 1) * part->column_step;
    target.narrow(0, part->row, part->values.size(0))
        .slice(1, part->column, last + 1, part->column_step)
        .copy_(part->values.to(type_));
  }
}

WeightMatrix WeightMatrix::narrow(int64_t first, int64_t count) const {
  TORCH_CHECK(!packed_.defined(), "a packed matrix has no parts");
  std::vector<WeightBlock> blocks;
  for (const WeightBlock& block : blocks_) {
    std::optional<WeightBlock> part = clipped(block, first, count);
    if (part) blocks.push_back(*std::move(part));
  }
  return {rows_, count, type_, std::move(blocks)};
}

const at::Tensor& WeightMatrix::whole() const {
  TORCH_CHECK(blocks_.size() == 1, "the matrix is in ", blocks_.size(), " pieces");
  return blocks_.front().values;
}

}  // namespace kvcalib
