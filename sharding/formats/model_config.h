// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

namespace kvcalib {

// The 16-bit type of a weights directory and of the runtime's fp16 KV cache.
enum class WeightType { kFloat16, kBFloat16 };

inline const char* name(WeightType type) {
  return type == WeightType::kFloat16 ? "float16" : "bfloat16";
}

// How a model's own code stretches its rotary positions (Hugging Face: rope_scaling).
struct RopeScaling {
  enum class Kind {  // the numbers are in statistics files: never renumber
    kNone,
    kLinear,   // positions divided by factor
    kDynamic,  // beyond original_positions, the base grows with the length
    kLlama3,   // low frequencies divided by factor, high ones kept, a ramp between
    kQwen,     // beyond original_positions, the base grows in powers of two (use_dynamic_ntk)
  };
  Kind kind = Kind::kNone;
  double factor = 1.0;
  double low_frequency_factor = 1.0, high_frequency_factor = 4.0;  // kLlama3
  int64_t original_positions = 0;                                  // what the model was trained at
};

// A decoder's shape, as the weights directory states it.  Dimensions are whole, never per rank.
struct ModelConfig {
  int64_t layers = 0;
  int64_t hidden = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t intermediate = 0;
  int64_t vocab = 0;         // rows of the embedding that a token id may name
  int64_t stored_ranks = 1;  // tensor_para_size: the ranks the files are cut for
  WeightType weight_type = WeightType::kFloat16;
  bool attention_bias = false;
  bool mlp_bias = false;        // of gate, up and down
  bool query_key_norm = false;  // each head of q and k is RMS-normalised before it is rotated
  int64_t sliding_window = 0;   // keys that a query sees, its own included; 0: all before it
  double norm_eps = 1e-6;

  double rope_theta = 10000.0;
  double rope_scaling_factor = 0.0;
  bool use_dynamic_ntk = false;
  bool use_logn_attention = false;
  int64_t max_position_embeddings = 0;  // 0: not stated
  int64_t session_length = 0;           // 0: not stated
  int64_t start_id = -1;                // the token that texts begin with; -1: not stated
  // Where stated, K is rotated as the model's own code does, else as the runtime release does.
  std::optional<RopeScaling> own_rotation;
};

// The sliding window that makes a difference to a prompt of `length` tokens; 0 for none.
inline int64_t effective_window(const ModelConfig& config, int64_t length) {
  return config.sliding_window < length ? config.sliding_window : 0;
}

}  // namespace kvcalib
