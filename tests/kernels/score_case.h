// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/score_rows.h"
#include "tests/kernels/kernel_test_data.h"

namespace kvcalib::kernels {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Rows of two streams' logits, with a few floats between rows.
struct ScoreCase {
  int64_t rows = 0, vocab = 0, between = 0;
  std::vector<float> base, other;

  int64_t stride() const { return vocab + between; }

  // The second stream's logits lie `distance` away (standard deviation).
  static ScoreCase random(int64_t rows, int64_t vocab, int64_t between, float distance,
                          float spread = 3.0f) {
    ScoreCase made{rows, vocab, between, {}, {}};
    made.base = random_values<float>(rows * made.stride(), 21);
    made.other = random_values<float>(rows * made.stride(), 22);
    for (size_t i = 0; i < made.base.size(); ++i) {
      made.base[i] *= spread;
      made.other[i] = made.base[i] + distance * made.other[i];
    }
    return made;
  }

  ScoreRowsArguments scoring(const std::vector<float>& logits, std::vector<int32_t>& top,
                             std::vector<double>& log_sum) const {
    return {.logits = logits.data(),
            .stride = stride(),
            .rows = rows,
            .vocab = vocab,
            .top = top.data(),
            .log_sum = log_sum.data()};
  }
};

struct RowScores {
  std::vector<int32_t> top;
  std::vector<double> log_sum;
};

struct RowDivergences {
  std::vector<float> forward, reverse;
};

// In double.
inline RowScores expected_scores(const ScoreCase& shape, const std::vector<float>& logits) {
  RowScores scores;
  for (int64_t row = 0; row < shape.rows; ++row) {
    const auto first = logits.begin() + row * shape.stride(), last = first + shape.vocab;
    const auto top = std::max_element(first, last);  // the first one
    double sum = 0.0;
    for (auto logit = first; logit != last; ++logit)
      sum += std::exp(static_cast<double>(*logit) - static_cast<double>(*top));
    scores.top.push_back(static_cast<int32_t>(top - first));
    scores.log_sum.push_back(static_cast<double>(*top) + std::log(sum));
  }
  return scores;
}

// The definition of KL(p || q), in long double, whose 64 bits bear its cancellation.
inline long double expected_divergence(const float* p_logits, const float* q_logits,
                                       int64_t vocab) {
  const auto log_sum = [&](const float* logits) {
    long double sum = 0.0L;
    for (int64_t i = 0; i < vocab; ++i) sum += std::exp(static_cast<long double>(logits[i]));
    return std::log(sum);
  };
  const long double p_sum = log_sum(p_logits), q_sum = log_sum(q_logits);
  long double divergence = 0.0L;
  for (int64_t i = 0; i < vocab; ++i) {
    const long double log_p = static_cast<long double>(p_logits[i]) - p_sum;
    const long double log_q = static_cast<long double>(q_logits[i]) - q_sum;
    if (p_logits[i] != -kInfinity) divergence += std::exp(log_p) * (log_p - log_q);
  }
  return divergence;
}

// Of both directions, relative.
inline void expect_divergences(const ScoreCase& shape, const RowDivergences& found,
                               double tolerance, const char* name) {
  for (int64_t row = 0; row < shape.rows; ++row) {
    const float* const base = shape.base.data() + row * shape.stride();
    const float* const other = shape.other.data() + row * shape.stride();
    const auto forward = static_cast<double>(expected_divergence(base, other, shape.vocab));
    const auto reverse = static_cast<double>(expected_divergence(other, base, shape.vocab));
    const auto place = static_cast<size_t>(row);
    EXPECT_NEAR(found.forward[place] / forward, 1.0, tolerance) << name << ", KL " << forward;
    EXPECT_NEAR(found.reverse[place] / reverse, 1.0, tolerance) << name << ", KL " << reverse;
  }
}

}  // namespace kvcalib::kernels
