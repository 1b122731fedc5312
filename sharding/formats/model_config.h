// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace kvcalib {

// The 16-bit type of a weights directory and of the runtime's fp16 KV cache.
enum class WeightType { kFloat16, kBFloat16 };

inline const char* name(WeightType type) {
  return type == WeightType::kFloat16 ? "float16" : "bfloat16";
}

// A decoder's shape, as the weights directory states it.  Dimensions are whole, never per rank.
struct ModelConfig {
  int64_t layers = 0;
  int64_t hidden = 0;  // heads * head_dim
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t intermediate = 0;
  int64_t vocab = 0;         // rows of the embedding that a token id may name
  int64_t stored_ranks = 1;  // tensor_para_size: the ranks the files are cut for
  WeightType weight_type = WeightType::kFloat16;
  bool attention_bias = false;
  double norm_eps = 1e-6;

  double rope_theta = 10000.0;
  double rope_scaling_factor = 0.0;
  bool use_dynamic_ntk = false;
  bool use_logn_attention = false;
  int64_t max_position_embeddings = 0;  // 0: not stated
  int64_t session_length = 0;           // 0: not stated
};

}  // namespace kvcalib
