// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/decode_arguments.h"
#include "kernels/stream.h"

namespace kvcalib::kernels {

// Floats of scratch memory.
inline int64_t decode_attention_scratch(int64_t rows, int64_t heads, int64_t head_dim,
                                        int64_t most_keys) {
  const int64_t chunks = (most_keys + kDecodeChunk - 1) / kDecodeChunk;
  return rows * heads * chunks * (head_dim + 2);
}

// T: Half, Bfloat16.  Pointers are device memory.  A row has the same bits whatever is computed
// beside it.  Throws std::invalid_argument for inconsistent arguments, CudaError for a launch that
// failed.
template <typename T>
void decode_attention(const DecodeAttentionArguments<T>& arguments, Stream stream);

namespace cpu {

struct InstructionSet;

// Heads are filled up to a multiple of so many floats.
inline constexpr int64_t kHeadUnit = 16;
inline constexpr int64_t padded_head(int64_t head_dim) {
  return (head_dim + kHeadUnit - 1) / kHeadUnit * kHeadUnit;
}

// Floats of scratch memory for one thread.
int64_t decode_attention_scratch(int64_t heads, int64_t kv_heads, int64_t head_dim);

// The same for tasks [first_task, last_task) on one thread, of a cache of floats or of codes;
// pointers are host memory.  A task has the same bits whatever is computed beside it, and with
// every instruction set that has fused multiply-add.  Throws std::invalid_argument for inconsistent
// arguments, and for a row of more keys than most_keys.
void decode_attention(const DecodeAttentionArguments<float>& arguments, int64_t first_task,
                      int64_t last_task, const InstructionSet& set);

}  // namespace cpu
}  // namespace kvcalib::kernels
