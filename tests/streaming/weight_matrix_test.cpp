// SPDX-License-Identifier: Apache-2.0
#include "sharding/streaming/weight_matrix.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace kvcalib {
namespace {

at::Tensor columns_of(const WeightMatrix& matrix, int64_t first, int64_t count) {
  const at::Tensor target = at::full({matrix.rows(), count}, -1.0);
  matrix.copy_columns(first, count, target);
  return target;
}

// 6 x 10 in pieces of every kind: all columns of some rows, every second column, a transposed view.
WeightMatrix in_pieces(const at::Tensor& whole) {
  const at::Tensor below = whole.narrow(0, 2, 4);
  return {6,
          10,
          at::kFloat,
          {{0, 0, 1, whole.narrow(0, 0, 2)},
           {2, 0, 2, below.slice(1, 0, 5, 2).contiguous()},
           {2, 1, 2, below.slice(1, 1, 5, 2).contiguous()},
           {2, 5, 1, below.narrow(1, 5, 5).t().contiguous().t()}}};
}

TEST(WeightMatrix, GivesAnyRunOfColumnsWhateverItsPieces) {
  const at::Tensor whole = at::arange(60, at::kFloat).view({6, 10});
  for (const WeightMatrix& matrix : {WeightMatrix(whole), in_pieces(whole)}) {
    for (int64_t first = 0; first < 10; ++first)
      for (int64_t count = 1; first + count <= 10; ++count)
        EXPECT_TRUE(at::equal(columns_of(matrix, first, count), whole.narrow(1, first, count)))
            << first << " " << count;
  }
}

TEST(WeightMatrix, NarrowsToColumnsThatNarrowAgain) {
  const at::Tensor whole = at::arange(60, at::kFloat).view({6, 10});
  for (const WeightMatrix& matrix : {WeightMatrix(whole), in_pieces(whole)}) {
    const WeightMatrix part = matrix.narrow(3, 6);
    EXPECT_EQ(part.columns(), 6);
    EXPECT_TRUE(at::equal(columns_of(part, 0, 6), whole.narrow(1, 3, 6)));
    EXPECT_TRUE(at::equal(columns_of(part.narrow(1, 2), 0, 2), whole.narrow(1, 4, 2)));
  }
}

TEST(WeightMatrix, ConvertsToTheTypeAskedFor) {
  const at::Tensor whole = at::arange(60, at::kFloat).view({6, 10}) / 7;
  const WeightMatrix matrix(whole.to(at::kHalf));
  EXPECT_TRUE(
      at::equal(columns_of(matrix, 2, 5), whole.narrow(1, 2, 5).to(at::kHalf).to(at::kFloat)));
}

TEST(WeightMatrix, RoundsWiderNumbersToItsTypeFirst) {
  const at::Tensor whole = at::arange(60, at::kFloat).view({6, 10}) / 7;
  const WeightMatrix matrix(6, 10, at::kHalf, {{0, 0, 1, whole}});
  EXPECT_TRUE(
      at::equal(columns_of(matrix, 2, 5), whole.narrow(1, 2, 5).to(at::kHalf).to(at::kFloat)));
}

TEST(WeightMatrix, IsOneTensorOnlyWhereItIsOnePiece) {
  const at::Tensor whole = at::arange(60, at::kFloat).view({6, 10});
  EXPECT_TRUE(at::equal(WeightMatrix(whole).whole(), whole));
  EXPECT_THROW(in_pieces(whole).whole(), c10::Error);
}

TEST(WeightMatrix, RefusesBlocksThatDoNotMakeTheMatrix) {
  EXPECT_THROW(WeightMatrix(6, 10, at::kFloat, {{0, 0, 1, at::ones({6, 9})}}), c10::Error);
}

}  // namespace
}  // namespace kvcalib
