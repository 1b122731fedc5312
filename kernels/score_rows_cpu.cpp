// SPDX-License-Identifier: Apache-2.0
#include "kernels/instruction_set.h"
#include "kernels/score_rows.h"

namespace kvcalib::kernels::cpu {

void score_rows(const ScoreRowsArguments& arguments, int64_t first_row, int64_t last_row,
                const InstructionSet& set) {
  arguments.check();
  set.score_rows(arguments, first_row, last_row);
}

void diverge_rows(const DivergeRowsArguments& arguments, int64_t first_row, int64_t last_row,
                  const InstructionSet& set) {
  arguments.check();
  set.diverge_rows(arguments, first_row, last_row);
}

void surprise(const SurpriseArguments& arguments) {
  arguments.check();
  for (int64_t i = 0; i < arguments.count; ++i) {
    const int64_t row = arguments.rows[i];
    const float logit = arguments.logits[row * arguments.stride + arguments.ids[i]];
    arguments.surprises[i] =
        static_cast<float>(arguments.log_sum[row] - static_cast<double>(logit));
  }
}

}  // namespace kvcalib::kernels::cpu
