// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "sharding/streaming/weight_matrix.h"

namespace kvcalib {

// What an error in a stored value does to the output of its layer: the diagonal of the Gauss-Newton
// matrix of that output, over sampled queries q of the query heads that read the kv head,
//   of K: I[t, c] = sum over q of p_qt^2 |W_o (v_t - o_q)|^2 q_c^2 / head_dim
//   of V: I[t, c] = sum over q of p_qt^2 |W_o[:, c]|^2
// with the probabilities p_qt of attention, the attended o_q and the query head's part W_o of the
// output matrix.  All tensors are float32 on one device.

// The queries of a window that are looked at: every kQueryStep-th, the last among them.
inline constexpr int64_t kQueryStep = 8;
struct SampledQueries {
  // Attention reaches back `sliding_window` tokens; 0: to the window's beginning.
  SampledQueries(int64_t length, int64_t sliding_window, const at::Device& device);

  at::Tensor positions;  // int64 [queries]
  at::Tensor unseen;     // bool [queries, length]: keys that a query does not attend to
};

// W_o^T W_o of every head, [heads, head_dim, head_dim], of the matrix [heads head_dim, hidden].
at::Tensor output_gram(const WeightMatrix& output, int64_t heads, const at::Device& device);

// The importance of a window of some kv heads, in factors; group: the query heads of a kv head.
struct Importance {
  at::Tensor pulls;    // p^2 |W_o (v - o)|^2, [kv_heads, group queries, tokens]
  at::Tensor queries;  // q^2 / head_dim, [kv_heads, group queries, head_dim]
  at::Tensor shares;   // sum of p^2 over queries, [kv_heads, group, tokens]
  at::Tensor columns;  // |W_o[:, c]|^2, [kv_heads, group, head_dim]

  at::Tensor of_keys() const;    // [kv_heads, tokens, head_dim]
  at::Tensor of_values() const;  // [kv_heads, tokens, head_dim]
  // The sums of both over tokens and channels: float64 [kv_heads, 2].
  at::Tensor totals() const;
};

// `queries` [queries, kv_heads, group, head_dim] are those sampled, `keys` and `values` [kv_heads,
// tokens, head_dim] as the cache holds them, `gram` [kv_heads, group, head_dim, head_dim].
Importance importance_of(const SampledQueries& sampled, const at::Tensor& queries,
                         const at::Tensor& keys, const at::Tensor& values, const at::Tensor& gram);

}  // namespace kvcalib
