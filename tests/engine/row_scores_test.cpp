// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/row_scores.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace kvcalib {
namespace {

double largest_difference(const at::Tensor& left, const at::Tensor& right) {
  return (left.to(at::kDouble) - right.to(at::kDouble)).abs().max().item<double>();
}

// Rows that are parts of wider ones.
at::Tensor some_logits(int64_t rows, int64_t vocab) {
  return at::randn({rows, vocab + 5}).mul_(4).narrow(1, 2, vocab);
}

TEST(RowScores, AreTheLargestPlaceAndTheLogOfTheSum) {
  at::manual_seed(1);
  for (const int64_t rows : {1, 100}) {
    const at::Tensor logits = some_logits(rows, 777);
    const RowScores scores = score_rows(logits);
    EXPECT_TRUE(at::equal(scores.top, logits.argmax(1).to(at::kInt)));
    ASSERT_EQ(scores.log_sum.scalar_type(), at::kDouble);
    EXPECT_LT(largest_difference(scores.log_sum, logits.to(at::kDouble).logsumexp(1)), 1e-6);
  }
  EXPECT_EQ(score_rows(some_logits(0, 777)).log_sum.numel(), 0);
}

TEST(RowScores, GiveDivergencesOfBothDirections) {
  at::manual_seed(2);
  const at::Tensor base = some_logits(50, 777), other = base + at::randn(base.sizes()) * 0.2;
  const RowDivergences found = divergences(base, score_rows(base), other, score_rows(other));
  const at::Tensor log_p = base.to(at::kDouble).log_softmax(1);
  const at::Tensor log_q = other.to(at::kDouble).log_softmax(1);
  const at::Tensor forward = (log_p.exp() * (log_p - log_q)).sum(1);
  const at::Tensor reverse = (log_q.exp() * (log_q - log_p)).sum(1);
  EXPECT_LT(largest_difference(found.forward / forward, at::ones({50})), 1e-5);
  EXPECT_LT(largest_difference(found.reverse / reverse, at::ones({50})), 1e-5);
}

TEST(RowScores, GiveSurprisesOfSeveralTokensOfARow) {
  at::manual_seed(3);
  const at::Tensor logits = some_logits(9, 777);
  const at::Tensor rows = at::tensor({0, 8, 8, 3}, at::kLong);
  const at::Tensor ids = at::tensor({776, 0, 5, 300}, at::kLong);
  const at::Tensor found = surprises(logits, score_rows(logits), rows, ids);
  const at::Tensor expected = -logits.to(at::kDouble).log_softmax(1).index({rows, ids});
  EXPECT_EQ(found.scalar_type(), at::kFloat);
  EXPECT_LT(largest_difference(found, expected), 2e-6);
}

TEST(RowScores, OfARowDoNotDependOnTheRowsBeside) {
  at::manual_seed(4);
  const at::Tensor base = some_logits(64, 3000), other = base + at::randn(base.sizes());
  const RowScores base_scores = score_rows(base), other_scores = score_rows(other);
  const RowDivergences found = divergences(base, base_scores, other, other_scores);
  for (const int64_t row : {0, 31, 63}) {
    const at::Tensor b = base.narrow(0, row, 1), o = other.narrow(0, row, 1);
    const RowScores b_scores = score_rows(b);
    EXPECT_TRUE(at::equal(b_scores.log_sum, base_scores.log_sum.narrow(0, row, 1)));
    const RowDivergences alone = divergences(b, b_scores, o, score_rows(o));
    EXPECT_TRUE(at::equal(alone.forward, found.forward.narrow(0, row, 1)));
    EXPECT_TRUE(at::equal(alone.reverse, found.reverse.narrow(0, row, 1)));
  }
}

TEST(RowScores, RefuseWhatIsNoLogits) {
  const at::Tensor logits = at::zeros({3, 8});
  const RowScores scores = score_rows(logits);
  EXPECT_THROW(score_rows(logits.to(at::kHalf)), c10::Error);
  EXPECT_THROW(score_rows(logits.t()), c10::Error);
  EXPECT_THROW(divergences(logits, scores, logits.narrow(0, 0, 2), scores), c10::Error);
  EXPECT_THROW(divergences(logits, scores, at::zeros({3, 9}), scores), c10::Error);
  const at::Tensor rows = at::arange(2, at::kLong);
  EXPECT_THROW(surprises(logits, scores, rows, at::arange(3, at::kLong)), c10::Error);
  EXPECT_THROW(surprises(logits, scores, rows, rows.to(at::kInt)), c10::Error);
}

}  // namespace
}  // namespace kvcalib
