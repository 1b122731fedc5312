// SPDX-License-Identifier: Apache-2.0
#include "kernels/instruction_set_loops.h"

namespace kvcalib::kernels::cpu {

extern const RowLoops kAvx2Rows;

// 16 registers: 12 sums, two vectors of the panel, one element of a row.
extern const InstructionSet kAvx2Set;
constinit const InstructionSet kAvx2Set = make_instruction_set<8, 6>("avx2", kAvx2Rows);

}  // namespace kvcalib::kernels::cpu
