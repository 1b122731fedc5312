// SPDX-License-Identifier: Apache-2.0
#include "kernels/score_rows.h"

#include "kernels/instruction_set.h"
#include "tests/kernels/score_case.h"

namespace kvcalib::kernels::cpu {
namespace {

RowScores score(const ScoreCase& shape, const std::vector<float>& logits,
                const InstructionSet& set) {
  RowScores scores{std::vector<int32_t>(static_cast<size_t>(shape.rows), -1),
                   std::vector<double>(static_cast<size_t>(shape.rows))};
  score_rows(shape.scoring(logits, scores.top, scores.log_sum), 0, shape.rows, set);
  return scores;
}

RowDivergences diverge(const ScoreCase& shape, const RowScores& base, const RowScores& other,
                       const InstructionSet& set) {
  const std::vector<float> none(static_cast<size_t>(shape.rows), -7.0f);
  RowDivergences found{none, none};
  diverge_rows({.base = shape.base.data(),
                .other = shape.other.data(),
                .base_stride = shape.stride(),
                .other_stride = shape.stride(),
                .base_log_sum = base.log_sum.data(),
                .other_log_sum = other.log_sum.data(),
                .rows = shape.rows,
                .vocab = shape.vocab,
                .forward = found.forward.data(),
                .reverse = found.reverse.data()},
               0, shape.rows, set);
  return found;
}

RowDivergences diverge(const ScoreCase& shape, const InstructionSet& set) {
  return diverge(shape, score(shape, shape.base, set), score(shape, shape.other, set), set);
}

TEST(ScoreRows, AgreesWithTheLargestAndTheLogOfTheSumInDouble) {
  for (const InstructionSet* set : instruction_sets()) {
    for (const int64_t vocab : {1, 2, 63, 64, 65, 1023, 1024, 1025, 12288, 32003}) {
      for (const float spread : {0.0f, 1.0f, 30.0f}) {
        const ScoreCase shape = ScoreCase::random(3, vocab, 5, 0.1f, spread);
        const RowScores found = score(shape, shape.base, *set);
        const RowScores expected = expected_scores(shape, shape.base);
        EXPECT_EQ(found.top, expected.top) << set->name << ", vocab " << vocab;
        for (size_t row = 0; row < found.top.size(); ++row)
          EXPECT_NEAR(found.log_sum[row], expected.log_sum[row], 3e-7) << set->name << vocab;
      }
    }
  }
}

TEST(ScoreRows, TakesTheFirstOfSeveralThatAreLargest) {
  for (const InstructionSet* set : instruction_sets()) {
    for (const int64_t first : {0, 1, 63, 64, 1500, 1999}) {
      ScoreCase shape = ScoreCase::random(1, 2000, 0, 0.1f);
      for (const int64_t place : {first, first + (1999 - first) / 2, int64_t{1999}})
        shape.base[static_cast<size_t>(place)] = 50.0f;
      EXPECT_EQ(score(shape, shape.base, *set).top.front(), first) << set->name;
    }
  }
}

TEST(DivergeRows, AgreesWithTheDefinitionFromTinyToLargeDivergences) {
  for (const InstructionSet* set : instruction_sets())
    for (const int64_t vocab : {50, 1024, 12289})
      for (const float distance : {1e-3f, 1e-2f, 0.1f, 0.5f, 1.0f, 3.0f})
        expect_divergences(ScoreCase::random(4, vocab, 3, distance),
                           diverge(ScoreCase::random(4, vocab, 3, distance), *set), 1e-5,
                           set->name);
}

// One logit that moves, alone: near and far places in one block, d on either side of the bound.
TEST(DivergeRows, AgreesWithTheDefinitionWhereOneProbabilityMoves) {
  for (const InstructionSet* set : instruction_sets()) {
    for (const float move : {-90.0f, -20.0f, -1.01f, -0.99f, -1e-2f, 1e-2f, 0.99f, 1.01f, 12.0f}) {
      ScoreCase shape = ScoreCase::random(1, 3000, 0, 0.0f);
      shape.base[1700] += 10.0f;
      shape.other = shape.base;
      shape.other[1700] += move;
      expect_divergences(shape, diverge(shape, *set), 1e-5, set->name);
    }
  }
}

TEST(DivergeRows, IsZeroForEqualRowsToTheBit) {
  for (const InstructionSet* set : instruction_sets()) {
    ScoreCase shape = ScoreCase::random(4, 5000, 3, 0.0f, 10.0f);
    shape.base[17] = shape.other[17] = -kInfinity;
    const RowDivergences found = diverge(shape, *set);
    EXPECT_EQ(found.forward, std::vector<float>(4, 0.0f)) << set->name;
    EXPECT_EQ(found.reverse, std::vector<float>(4, 0.0f)) << set->name;
  }
}

// 1e-6 is ten times what rounding does to a sum.
TEST(DivergeRows, BearsSumsThatAreALittleOff) {
  const ScoreCase shape = ScoreCase::random(4, 12288, 0, 1e-3f);
  const InstructionSet& set = fastest_instruction_set();
  RowScores off = score(shape, shape.other, set);
  for (double& log_sum : off.log_sum) log_sum += 1e-6;
  expect_divergences(shape, diverge(shape, score(shape, shape.base, set), off, set), 1e-5,
                     set.name);
}

TEST(DivergeRows, TakesMinusInfinityForAProbabilityOfZero) {
  for (const InstructionSet* set : instruction_sets()) {
    ScoreCase shape = ScoreCase::random(3, 1500, 0, 0.1f);
    const auto at = [&](int64_t row) { return static_cast<size_t>(row * shape.vocab + 1100); };
    shape.base[at(0)] = shape.other[at(0)] = -kInfinity;
    shape.base[at(1)] = -kInfinity;
    shape.other[at(2)] = -kInfinity;
    const RowDivergences found = diverge(shape, *set);
    const auto expected = [&](int64_t row, const auto& p, const auto& q) {
      const int64_t first = row * shape.vocab;
      return static_cast<double>(
          expected_divergence(p.data() + first, q.data() + first, shape.vocab));
    };
    EXPECT_EQ(found.reverse[1], kInfinity);
    EXPECT_EQ(found.forward[2], kInfinity);
    EXPECT_NEAR(found.forward[1] / expected(1, shape.base, shape.other), 1.0, 1e-5);
    EXPECT_NEAR(found.reverse[2] / expected(2, shape.other, shape.base), 1.0, 1e-5);
    // What has no probability in both is as if it were not there.
    ScoreCase without{1, shape.vocab - 1, 0, shape.base, shape.other};
    without.base.erase(without.base.begin() + 1100);
    without.other.erase(without.other.begin() + 1100);
    expect_divergences(without, {{found.forward[0]}, {found.reverse[0]}}, 1e-5, set->name);
    EXPECT_NEAR(score(shape, shape.base, *set).log_sum[0],
                expected_scores(without, without.base).log_sum[0], 3e-7);
  }
}

TEST(ScoreRows, ShowsWhatIsNotFiniteInItsRowAlone) {
  for (const InstructionSet* set : instruction_sets()) {
    for (const float bad : {std::nanf(""), kInfinity}) {
      for (const int64_t place : {0, 64, 1199}) {
        ScoreCase shape = ScoreCase::random(3, 1200, 0, 0.1f);
        shape.base[static_cast<size_t>(1200 + place)] = bad;
        const RowScores base = score(shape, shape.base, *set);
        EXPECT_TRUE(std::isfinite(base.log_sum[0]) && std::isfinite(base.log_sum[2]));
        EXPECT_FALSE(std::isfinite(base.log_sum[1])) << set->name << " at " << place;
        const RowDivergences found = diverge(shape, base, score(shape, shape.other, *set), *set);
        EXPECT_TRUE(std::isfinite(found.forward[0]) && std::isfinite(found.reverse[2]));
        EXPECT_FALSE(std::isfinite(found.forward[1]) || std::isfinite(found.reverse[1]));
      }
    }
    ScoreCase nothing = ScoreCase::random(1, 100, 0, 0.1f);
    nothing.base.assign(100, -kInfinity);
    EXPECT_FALSE(std::isfinite(score(nothing, nothing.base, *set).log_sum[0]));
  }
}

TEST(ScoreRows, GivesTheSameBitsOnEveryInstructionSetThatFusesMultiplyAdd) {
  for (const float distance : {0.01f, 2.0f}) {
    const ScoreCase shape = ScoreCase::random(5, 5003, 1, distance);
    const InstructionSet& fastest = fastest_instruction_set();
    const RowScores scores = score(shape, shape.base, fastest);
    const RowDivergences divergences = diverge(shape, fastest);
    for (const InstructionSet* set : instruction_sets()) {
      if (!set->fuses || !fastest.fuses) continue;
      EXPECT_EQ(score(shape, shape.base, *set).log_sum, scores.log_sum) << set->name;
      EXPECT_TRUE(same_bits(diverge(shape, *set).forward, divergences.forward)) << set->name;
      EXPECT_TRUE(same_bits(diverge(shape, *set).reverse, divergences.reverse)) << set->name;
    }
  }
}

TEST(ScoreRows, RefusesArgumentsThatDoNotFit) {
  const ScoreCase shape = ScoreCase::random(2, 10, 0, 0.1f);
  std::vector<int32_t> top(2);
  std::vector<double> log_sum(2);
  std::vector<float> out(2);
  const InstructionSet& set = fastest_instruction_set();
  ScoreRowsArguments scoring = shape.scoring(shape.base, top, log_sum);
  scoring.stride = 9;
  EXPECT_THROW(score_rows(scoring, 0, 2, set), std::invalid_argument);
  scoring = shape.scoring(shape.base, top, log_sum);
  scoring.vocab = 0;
  EXPECT_THROW(score_rows(scoring, 0, 2, set), std::invalid_argument);
  EXPECT_THROW(diverge_rows({.base = shape.base.data(),
                             .other = shape.other.data(),
                             .base_stride = 10,
                             .other_stride = 9,
                             .base_log_sum = log_sum.data(),
                             .other_log_sum = log_sum.data(),
                             .rows = 2,
                             .vocab = 10,
                             .forward = out.data(),
                             .reverse = out.data()},
                            0, 2, set),
               std::invalid_argument);
}

}  // namespace
}  // namespace kvcalib::kernels::cpu
