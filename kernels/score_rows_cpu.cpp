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

}  // namespace kvcalib::kernels::cpu
