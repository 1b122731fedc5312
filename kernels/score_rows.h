// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/require.h"
#include "kernels/stream.h"

namespace kvcalib::kernels {

// The arguments of what is wanted of each row of logits on its own: the place of the largest, the
// first where there are several, and ln(sum of exp(logit)).  A logit of minus infinity is a
// probability of 0.  A row with NaN or plus infinity, or of nothing but minus infinity, has a sum
// that is not finite.
struct ScoreRowsArguments {
  const float* logits = nullptr;  // [rows, vocab]
  int64_t stride = 0;             // elements between rows
  int64_t rows = 0, vocab = 0;
  int32_t* top = nullptr;     // [rows]
  double* log_sum = nullptr;  // [rows]

  void check() const {
    require(rows >= 0 && 0 < vocab && vocab < int64_t{1} << 31,
            "score_rows: rows >= 0 and 0 < vocab < 2^31");
    require(rows <= 1 || stride >= vocab, "score_rows: rows do not overlap");
    require(rows == 0 || (logits != nullptr && top != nullptr && log_sum != nullptr),
            "score_rows: logits, top and log_sum are given");
  }
};

// The arguments of the divergences of distributions, by row: with p = exp(base - base_log_sum) and
// q = exp(other - other_log_sum)
//   forward = KL(p || q) = sum p g(ln p/q),  reverse = KL(q || p) = sum q g(ln q/p),
//   g(d) = d + exp(-d) - 1 >= 0
// which is what sum p ln p/q is when the probabilities add up to 1, without its cancellation: equal
// rows have 0, and an error e of a log_sum adds about e^2 / 2.  Where p = 0, p ln p/q = 0; infinite
// where q = 0 and p is not; NaN where a log_sum is not finite.
struct DivergeRowsArguments {
  const float* base = nullptr;   // [rows, vocab]
  const float* other = nullptr;  // [rows, vocab]
  int64_t base_stride = 0, other_stride = 0;
  const double* base_log_sum = nullptr;   // [rows], as score_rows gives it
  const double* other_log_sum = nullptr;  // [rows]
  int64_t rows = 0, vocab = 0;
  float* forward = nullptr;  // [rows]
  float* reverse = nullptr;  // [rows]

  void check() const {
    require(rows >= 0 && vocab > 0, "diverge_rows: rows >= 0 and vocab > 0");
    require(rows <= 1 || (base_stride >= vocab && other_stride >= vocab),
            "diverge_rows: rows do not overlap");
    require(rows == 0 || (base != nullptr && other != nullptr && base_log_sum != nullptr &&
                          other_log_sum != nullptr && forward != nullptr && reverse != nullptr),
            "diverge_rows: base, other, their sums, forward and reverse are given");
  }
};

// The arguments of how surprising tokens are:
//   surprises[i] = log_sum[row] - logits[row, ids[i]] = -ln of its probability, row = rows[i]
struct SurpriseArguments {
  const float* logits = nullptr;    // [any, vocab]
  int64_t stride = 0;               // elements between rows
  const double* log_sum = nullptr;  // [any], as score_rows gives it
  const int64_t* rows = nullptr;    // [count]
  const int64_t* ids = nullptr;     // [count]
  int64_t count = 0;
  float* surprises = nullptr;  // [count]

  void check() const {
    require(count >= 0, "surprise: count >= 0");
    require(count == 0 || (logits != nullptr && log_sum != nullptr && rows != nullptr &&
                           ids != nullptr && surprises != nullptr),
            "surprise: logits, their sums, rows, ids and surprises are given");
  }
};

// Pointers are device memory.  A row's results depend on nothing but the row.  All throw
// std::invalid_argument for inconsistent arguments, CudaError for a launch that failed.
void score_rows(const ScoreRowsArguments& arguments, Stream stream);
void diverge_rows(const DivergeRowsArguments& arguments, Stream stream);
void surprise(const SurpriseArguments& arguments, Stream stream);

namespace cpu {

struct InstructionSet;

// The same for rows [first_row, last_row); pointers are host memory.  Agree with the GPU to a few
// units in the last place of fp32 (another exponential, another order), and to the bit between the
// instruction sets that fuse multiply-adds.
void score_rows(const ScoreRowsArguments& arguments, int64_t first_row, int64_t last_row,
                const InstructionSet& set);
void diverge_rows(const DivergeRowsArguments& arguments, int64_t first_row, int64_t last_row,
                  const InstructionSet& set);

// The same, to the bit.
void surprise(const SurpriseArguments& arguments);

}  // namespace cpu
}  // namespace kvcalib::kernels
