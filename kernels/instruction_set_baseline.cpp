// SPDX-License-Identifier: Apache-2.0
#include "kernels/instruction_set_loops.h"

namespace kvcalib::kernels::cpu {

extern const RowLoops kBaselineRows;

// 16 registers, as SSE2 has (NEON has more): 12 sums, two vectors of the panel, one element of a
// row.
extern const InstructionSet kBaselineSet;
constinit const InstructionSet kBaselineSet = make_instruction_set<4, 6>("baseline", kBaselineRows);

}  // namespace kvcalib::kernels::cpu
