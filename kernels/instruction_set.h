// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "kernels/causal_attention.h"
#include "kernels/decode_attention.h"
#include "kernels/matrix_product.h"
#include "kernels/row_loops.h"
#include "kernels/score_rows.h"

namespace kvcalib::kernels::cpu {

// The hot loops, compiled for one set of instructions: those that keep tiles in registers, whose
// size follows from the number and the width of these, and those over rows.
struct InstructionSet {
  const char* name;
  int64_t panel_columns;  // of packed weights
  bool fuses;             // multiply-add rounds once
  void (*pack_columns)(const PackColumnsArguments&);
  void (*matrix_product)(const MatrixProductArguments&);
  void (*causal_attention)(const CausalAttentionArguments&, int64_t first_task, int64_t last_task);
  void (*decode_attention)(const DecodeAttentionArguments<float>&, int64_t first_task,
                           int64_t last_task, const CacheLoops& loops);
  void (*score_rows)(const ScoreRowsArguments&, int64_t first_row, int64_t last_row);
  void (*diverge_rows)(const DivergeRowsArguments&, int64_t first_row, int64_t last_row);
  const RowLoops* rows;
};

// Those that this processor has, the fastest first.
std::span<const InstructionSet* const> instruction_sets();
inline const InstructionSet& fastest_instruction_set() { return *instruction_sets().front(); }

}  // namespace kvcalib::kernels::cpu
