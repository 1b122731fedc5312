// SPDX-License-Identifier: Apache-2.0
#include "kernels/instruction_set_loops.h"

namespace kvcalib::kernels::cpu {

// 16 registers of SSE2: 12 sums, two vectors of the panel, one element of a row.
extern const InstructionSet kBaselineSet;
const InstructionSet kBaselineSet = make_instruction_set<4, 6>("baseline");

}  // namespace kvcalib::kernels::cpu
