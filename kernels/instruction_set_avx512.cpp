// SPDX-License-Identifier: Apache-2.0
#include "kernels/instruction_set_loops.h"

namespace kvcalib::kernels::cpu {

extern const RowLoops kAvx512Rows;

// 32 registers: 24 sums, two vectors of the panel, elements of rows.
extern const InstructionSet kAvx512Set;
constinit const InstructionSet kAvx512Set = make_instruction_set<16, 12>("avx512", kAvx512Rows);

}  // namespace kvcalib::kernels::cpu
