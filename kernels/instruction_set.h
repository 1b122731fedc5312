// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "kernels/causal_attention.h"
#include "kernels/matrix_product.h"

namespace kvcalib::kernels::cpu {

// The loops that keep tiles in registers, compiled for one set of instructions: how large a tile
// is follows from the number and the width of its registers, which target_clones cannot say.
struct InstructionSet {
  const char* name;
  int64_t panel_columns;  // of packed weights
  bool fuses;             // multiply-add rounds once
  void (*pack_columns)(const PackColumnsArguments&);
  void (*matrix_product)(const MatrixProductArguments&);
  void (*causal_attention)(const CausalAttentionArguments&, int64_t first_task, int64_t last_task);
};

// Those that this processor has, the fastest first.
std::span<const InstructionSet* const> instruction_sets();
inline const InstructionSet& fastest_instruction_set() { return *instruction_sets().front(); }

}  // namespace kvcalib::kernels::cpu
