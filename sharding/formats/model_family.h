// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace kvcalib {

// How a layer's q, k and v are stored.
enum class QkvLayout {
  kSeparate,      // three tensors
  kConcatenated,  // one: q | k | v
  kGrouped,       // one: for every kv head its q heads, k, v
};

// Which of a family's models attend through a sliding window.
enum class WindowRule {
  kNever,
  kWhereStated,  // sliding_window, layer_types (with which transformers calls Mistral Ministral)
  kWhereUsed,    // sliding_window, use_sliding_window, max_window_layers, layer_types
};

// Where a family's code reads how it rotates.
enum class RotationRule {
  kParameters,  // transformers: rope_scaling, without that rope_parameters; beside them rope_theta
  kScaling,     // rope_scaling; beside it rope_theta
  kRotary,      // rotary, with base, type and scaling_factor
  kFlags,       // Qwen: use_dynamic_ntk, use_logn_attn, rotary_pct
  kNowhere,
};

// What sets the models of one architecture apart: the names of their tensors and of keys in their
// config.json, and a few flags.  A family that needs nothing new is one row in model_family.cpp;
// what a row leaves out is as in Llama.
struct ModelFamily {
  std::vector<std::string_view> architectures;  // as config.json names them
  std::string_view model_type;                  // beside them

  // Names of tensors, ".weight" and ".bias" left out; of a layer's those behind "<layers>.<L>.".
  std::string_view embedding = "model.embed_tokens";
  std::string_view final_norm = "model.norm";
  std::string_view head = "lm_head";
  std::string_view layers = "model.layers";
  std::string_view attention_norm = "input_layernorm";
  QkvLayout qkv_layout = QkvLayout::kSeparate;
  std::string_view qkv = "";  // where q, k and v are one
  std::string_view query = "self_attn.q_proj";
  std::string_view key = "self_attn.k_proj";
  std::string_view value = "self_attn.v_proj";
  std::string_view query_norm = "", key_norm = "";  // where heads are normalised
  std::string_view output = "self_attn.o_proj";
  std::string_view ffn_norm = "post_attention_layernorm";
  std::string_view gate = "mlp.gate_proj";
  std::string_view up = "mlp.up_proj";
  std::string_view down = "mlp.down_proj";

  // Keys of config.json; "" for what the family's code does not read.
  std::string_view head_dim_key = "head_dim";
  std::string_view kv_heads_key = "num_key_value_heads";
  std::string_view norm_eps_key = "rms_norm_eps";
  RotationRule rotation = RotationRule::kParameters;
  std::string_view rope_theta_key = "rope_theta";
  std::string_view positions_key = "max_position_embeddings";  // what the model was trained at
  int64_t intermediate_divisor = 1;  // of intermediate_size, where it counts gate and up together

  bool qkv_bias = false;               // q, k and v have biases, the output has none
  std::string_view bias_key = "";      // says whether q, k, v and the output have biases
  bool bias_by_default = false;        // where config.json lacks that key
  std::string_view mlp_bias_key = "";  // says whether gate, up and down have biases
  WindowRule window = WindowRule::kNever;
  int64_t default_head_dim = 0;  // where config.json lacks head_dim_key; 0: hidden / heads
  int64_t alibi_hidden = 0;      // the hidden_size of models that do not rotate at all
  int64_t normalised_head_vocab =
      0;  // the vocab_size of models that bring the head's rows to length 1
};

// Whether the family's code comes with its models (auto_map), as transformers has none.
bool has_own_code(const ModelFamily& family);

// Whether the family's code reads a key of config.json that other families' code reads too.
bool reads(const ModelFamily& family, std::string_view key);

// The family of an architecture.  Throws Error, `origin` first, when it is none of those known.
const ModelFamily& find_family(std::string_view architecture, const std::string& origin);

}  // namespace kvcalib
