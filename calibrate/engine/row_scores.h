// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

namespace kvcalib {

// What a row of logits says of the token that comes next.
struct RowScores {
  at::Tensor top;  // int32 [rows]: the most likely one, the first of several
  at::Tensor
      log_sum;  // double [rows]: ln of the sum of exp(logit), not finite where logits are not
};

// Of distributions, in nats.
struct RowDivergences {
  at::Tensor forward;  // float32 [rows]: KL(base || other)
  at::Tensor reverse;  // float32 [rows]: KL(other || base)
};

// All tensors are on one device, logits float32 [rows, vocab] with dense rows.  A row's results
// depend on nothing but the row; on GPUs they are put onto the current stream.

RowScores score_rows(const at::Tensor& logits);

// Exactly 0 where the rows are equal; see kernels::DivergeRowsArguments.
RowDivergences divergences(const at::Tensor& base, const RowScores& base_scores,
                           const at::Tensor& other, const RowScores& other_scores);

// -ln of the probability that row rows[i] gives to token ids[i], float32 [n]; both int64 [n], which
// the caller answers for.
at::Tensor surprises(const at::Tensor& logits, const RowScores& scores, const at::Tensor& rows,
                     const at::Tensor& ids);

}  // namespace kvcalib
