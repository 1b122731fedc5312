// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/row_scores.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include "calibrate/engine/kernel_tensors.h"
#include "kernels/instruction_set.h"
#include "kernels/score_rows.h"

namespace kvcalib {
namespace {

void check_logits(const at::Tensor& logits) {
  TORCH_CHECK(logits.dim() == 2 && logits.scalar_type() == at::kFloat &&
                  (logits.size(1) == 1 || logits.stride(1) == 1),
              "logits: float32 [rows, vocab] of dense rows, not ", logits.scalar_type(), " ",
              logits.sizes(), " with strides ", logits.strides());
}

void check_scores(const at::Tensor& logits, const RowScores& scores) {
  TORCH_CHECK(scores.log_sum.dim() == 1 && scores.log_sum.size(0) == logits.size(0) &&
                  scores.log_sum.is_contiguous(),
              "scores of ", scores.log_sum.sizes(), " rows of logits ", logits.sizes());
}

// Calls run(first_row, last_row, instruction set) on all threads.
template <typename Run>
void over_rows(int64_t rows, const Run& run) {
  const kernels::cpu::InstructionSet& set = kernels::cpu::fastest_instruction_set();
  at::parallel_for(0, rows, 1, [&](int64_t first, int64_t last) { run(first, last, set); });
}

}  // namespace

RowScores score_rows(const at::Tensor& logits) {
  check_logits(logits);
  const int64_t rows = logits.size(0);
  RowScores scores{at::empty({rows}, logits.options().dtype(at::kInt)),
                   at::empty({rows}, logits.options().dtype(at::kDouble))};
  const kernels::ScoreRowsArguments arguments{.logits = logits.const_data_ptr<float>(),
                                              .stride = logits.stride(0),
                                              .rows = rows,
                                              .vocab = logits.size(1),
                                              .top = scores.top.data_ptr<int32_t>(),
                                              .log_sum = scores.log_sum.data_ptr<double>()};
  if (logits.is_cpu())
    over_rows(rows, [&](int64_t first, int64_t last, const auto& set) {
      kernels::cpu::score_rows(arguments, first, last, set);
    });
  else
    kernels::score_rows(arguments, current_stream(logits));
  return scores;
}

RowDivergences divergences(const at::Tensor& base, const RowScores& base_scores,
                           const at::Tensor& other, const RowScores& other_scores) {
  check_logits(base);
  check_logits(other);
  check_scores(base, base_scores);
  check_scores(other, other_scores);
  TORCH_CHECK(base.sizes() == other.sizes(), "divergences: logits ", base.sizes(), " and ",
              other.sizes());
  const int64_t rows = base.size(0);
  RowDivergences found{at::empty({rows}, base.options()), at::empty({rows}, base.options())};
  const kernels::DivergeRowsArguments arguments{
      .base = base.const_data_ptr<float>(),
      .other = other.const_data_ptr<float>(),
      .base_stride = base.stride(0),
      .other_stride = other.stride(0),
      .base_log_sum = base_scores.log_sum.const_data_ptr<double>(),
      .other_log_sum = other_scores.log_sum.const_data_ptr<double>(),
      .rows = rows,
      .vocab = base.size(1),
      .forward = found.forward.data_ptr<float>(),
      .reverse = found.reverse.data_ptr<float>(),
  };
  if (base.is_cpu())
    over_rows(rows, [&](int64_t first, int64_t last, const auto& set) {
      kernels::cpu::diverge_rows(arguments, first, last, set);
    });
  else
    kernels::diverge_rows(arguments, current_stream(base));
  return found;
}

at::Tensor surprises(const at::Tensor& logits, const RowScores& scores, const at::Tensor& rows,
                     const at::Tensor& ids) {
  check_logits(logits);
  check_scores(logits, scores);
  TORCH_CHECK(rows.dim() == 1 && rows.sizes() == ids.sizes() && rows.scalar_type() == at::kLong &&
                  ids.scalar_type() == at::kLong && rows.is_contiguous() && ids.is_contiguous(),
              "surprises: an id for every row, int64, not ", ids.sizes(), " for ", rows.sizes());
  at::Tensor found = at::empty(rows.sizes(), logits.options());
  const kernels::SurpriseArguments arguments{.logits = logits.const_data_ptr<float>(),
                                             .stride = logits.stride(0),
                                             .log_sum = scores.log_sum.const_data_ptr<double>(),
                                             .rows = rows.const_data_ptr<int64_t>(),
                                             .ids = ids.const_data_ptr<int64_t>(),
                                             .count = rows.size(0),
                                             .surprises = found.data_ptr<float>()};
  if (logits.is_cpu())
    kernels::cpu::surprise(arguments);
  else
    kernels::surprise(arguments, current_stream(logits));
  return found;
}

}  // namespace kvcalib
