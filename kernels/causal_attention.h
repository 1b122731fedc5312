// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "kernels/require.h"

namespace kvcalib::kernels::cpu {

struct InstructionSet;

// Rows of keys and values that follow one another.
struct KeyRun {
  int64_t first = 0, count = 0;
};

// The arguments of causal attention in fp32: every window on its own, scores scaled by 1 /
// sqrt(head_dim).  A window's queries are those of its last keys: query i sees the keys up to
// key_length - query_length + i, its own.
struct CausalAttentionArguments {
  const float* queries = nullptr;  // [windows * query_length, heads, head_dim]
  const float* keys = nullptr;     // [windows * key_length, kv_heads, head_dim]
  const float* values = nullptr;   // as keys
  int64_t query_stride = 0;        // elements between tokens
  int64_t key_stride = 0;          // the same, of keys and of values
  float* out = nullptr;            // [windows * query_length, heads * head_dim]
  int64_t windows = 0, query_length = 0, key_length = 0;
  // Where the keys of one window lie in several places, in their order: the counts' sum is
  // key_length.  Empty: each window's follow one another.
  std::span<const KeyRun> key_runs = {};
  // Query head h takes the k and v of head h / (heads / kv_heads).
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  // Keys that a query sees, its own the last of them; 0: all up to its own.
  int64_t sliding_window = 0;
  float* scratch = nullptr;  // attention_scratch floats

  // A task is a head of a window.
  int64_t tasks() const { return windows * heads; }

  void check() const {
    require(windows >= 0 && head_dim > 0, "causal_attention: windows >= 0, head_dim > 0");
    require(0 < query_length && query_length <= key_length,
            "causal_attention: every query has its key");
    require(kv_heads > 0 && heads > 0 && heads % kv_heads == 0,
            "causal_attention: heads is a multiple of kv_heads");
    require(query_stride >= heads * head_dim && key_stride >= kv_heads * head_dim,
            "causal_attention: a token's heads do not overlap the next one's");
    require(sliding_window >= 0, "causal_attention: sliding_window >= 0");
    int64_t in_runs = 0;
    for (const KeyRun& run : key_runs) in_runs += run.count;
    require(key_runs.empty() || (windows == 1 && in_runs == key_length),
            "causal_attention: runs hold the keys of one window");
    require(windows == 0 || (queries != nullptr && keys != nullptr && values != nullptr &&
                             out != nullptr && scratch != nullptr),
            "causal_attention: queries, keys, values, out and scratch are given");
  }
};

// Queries and keys that are taken together.
inline constexpr int64_t kAttentionQueries = 48;
inline constexpr int64_t kAttentionKeys = 512;

// The widest panel that an instruction set may have.
inline constexpr int64_t kWidestPanel = 32;

// Floats of scratch memory for one thread.
int64_t attention_scratch(int64_t query_length, int64_t head_dim);

// Tasks [first_task, last_task) on one thread, in host memory.  Keys come in blocks, with a running
// maximum and sum (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018).  A
// query has the same bits whatever is computed beside it, and with every instruction set that has
// fused multiply-add.  A NaN in q, k or v makes NaN of what sees it; one in v, or an
// infinity, perhaps also of what is taken together with that.  Throws std::invalid_argument for
// inconsistent arguments.
void causal_attention(const CausalAttentionArguments& arguments, int64_t first_task,
                      int64_t last_task, const InstructionSet& set);

}  // namespace kvcalib::kernels::cpu
