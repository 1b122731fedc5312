// SPDX-License-Identifier: Apache-2.0
#pragma once

// Part of every instruction_set_*.cpp, each compiled for other processors; in an unnamed namespace,
// so that the linker cannot take one processor's copy for another's.
#include "kernels/causal_attention_loops.h"
#include "kernels/decode_attention_loops.h"
#include "kernels/instruction_set.h"
#include "kernels/score_rows_loops.h"

namespace kvcalib::kernels::cpu {
namespace {

// Vectors of kLanes floats; tiles of kRows rows and two vectors of columns.
template <int kLanes, int kRows>
constexpr InstructionSet make_instruction_set(const char* name, const RowLoops& rows) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  constexpr bool kFuses = true;
#else
  constexpr bool kFuses = false;
#endif
  using Product = MatrixProductLoops<kLanes, kRows>;
  return {.name = name,
          .panel_columns = Product::kPanel,
          .fuses = kFuses,
          .pack_columns = Product::pack,
          .matrix_product = Product::multiply,
          .causal_attention = AttentionLoops<kLanes, kRows>::run,
          .decode_attention = DecodeAttentionLoops<kLanes>::run,
          .score_rows = ScoreRowsLoops::score,
          .diverge_rows = ScoreRowsLoops::diverge,
          .rows = &rows};
}

}  // namespace
}  // namespace kvcalib::kernels::cpu
