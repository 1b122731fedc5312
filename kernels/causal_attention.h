// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/require.h"

namespace kvcalib::kernels::cpu {

struct InstructionSet;

// The arguments of causal attention in fp32: every window of `length` tokens on its own, scores
// scaled by 1 / sqrt(head_dim).
struct CausalAttentionArguments {
  // [windows * length, row_stride]: heads q heads, kv_heads k heads, kv_heads v heads, each
  // head_dim wide.  Query head h takes the k and v of head h / (heads / kv_heads).
  const float* qkv = nullptr;
  int64_t row_stride = 0;
  float* out = nullptr;  // [windows * length, heads * head_dim]
  int64_t windows = 0, length = 0;
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  int64_t sliding_window =
      0;  // keys that a query sees, its own the last of them; 0: all up to its own
  float* scratch = nullptr;  // attention_scratch floats

  // A task is a head of a window.
  int64_t tasks() const { return windows * heads; }

  void check() const {
    require(windows >= 0 && length > 0 && head_dim > 0, "causal_attention: length, head_dim > 0");
    require(kv_heads > 0 && heads > 0 && heads % kv_heads == 0,
            "causal_attention: heads is a multiple of kv_heads");
    require(row_stride >= (heads + 2 * kv_heads) * head_dim,
            "causal_attention: a row holds q, k and v");
    require(sliding_window >= 0, "causal_attention: sliding_window >= 0");
    require(windows == 0 || (qkv != nullptr && out != nullptr && scratch != nullptr),
            "causal_attention: qkv, out and scratch are given");
  }
};

// Queries and keys that are taken together.
inline constexpr int64_t kAttentionQueries = 48;
inline constexpr int64_t kAttentionKeys = 512;

// The widest panel that an instruction set may have.
inline constexpr int64_t kWidestPanel = 32;

// Floats of scratch memory for one thread.
int64_t attention_scratch(int64_t length, int64_t head_dim);

// Tasks [first_task, last_task) on one thread, in host memory.  Keys come in blocks, with a running
// maximum and sum (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018).  A
// head of a window has the same bits whatever is computed beside it, and with every instruction set
// that has fused multiply-add.  A NaN in q, k or v makes NaN of what sees it; one in v, or an
// infinity, perhaps also of what is taken together with that.  Throws std::invalid_argument for
// inconsistent arguments.
void causal_attention(const CausalAttentionArguments& arguments, int64_t first_task,
                      int64_t last_task, const InstructionSet& set);

}  // namespace kvcalib::kernels::cpu
