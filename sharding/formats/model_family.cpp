// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/model_family.h"

#include <algorithm>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

// Names and flags are those of each family's modeling_*.py and configuration_*.py.
const std::vector<ModelFamily>& families() {
  static const std::vector<ModelFamily> kRows = {
      {.architectures = {"LlamaForCausalLM", "LLaMAForCausalLM"},
       .model_type = "llama",
       .bias_key = "attention_bias",
       .mlp_bias_key = "mlp_bias"},
      {.architectures = {"MistralForCausalLM"},
       .model_type = "mistral",
       .window = WindowRule::kWhereStated},
      {.architectures = {"InternLMForCausalLM"},
       .model_type = "internlm",
       .head_dim_key = "",
       .kv_heads_key = "",
       .rotation = RotationRule::kRotary,
       .rope_theta_key = "",
       .bias_key = "bias",
       .bias_by_default = true},
      {.architectures = {"InternLM2ForCausalLM"},
       .model_type = "internlm2",
       .embedding = "model.tok_embeddings",
       .head = "output",
       .attention_norm = "attention_norm",
       .qkv_layout = QkvLayout::kGrouped,
       .qkv = "attention.wqkv",
       .output = "attention.wo",
       .ffn_norm = "ffn_norm",
       .gate = "feed_forward.w1",
       .up = "feed_forward.w3",
       .down = "feed_forward.w2",
       .head_dim_key = "",
       .rotation = RotationRule::kScaling,
       .bias_key = "bias",
       .bias_by_default = true},
      {.architectures = {"QWenLMHeadModel"},
       .model_type = "qwen",
       .embedding = "transformer.wte",
       .final_norm = "transformer.ln_f",
       .layers = "transformer.h",
       .attention_norm = "ln_1",
       .qkv_layout = QkvLayout::kConcatenated,
       .qkv = "attn.c_attn",
       .output = "attn.c_proj",
       .ffn_norm = "ln_2",
       .gate = "mlp.w2",
       .up = "mlp.w1",
       .down = "mlp.c_proj",
       .head_dim_key = "kv_channels",
       .kv_heads_key = "",
       .norm_eps_key = "layer_norm_epsilon",
       .rotation = RotationRule::kFlags,
       .rope_theta_key = "rotary_emb_base",
       .positions_key = "seq_length",
       .intermediate_divisor = 2,
       .qkv_bias = true},
      {.architectures = {"Qwen2ForCausalLM"},
       .model_type = "qwen2",
       .qkv_bias = true,
       .window = WindowRule::kWhereUsed},
      {.architectures = {"Qwen3ForCausalLM"},
       .model_type = "qwen3",
       .query_norm = "self_attn.q_norm",
       .key_norm = "self_attn.k_norm",
       .bias_key = "attention_bias",
       .window = WindowRule::kWhereUsed,
       .default_head_dim = 128},
      {.architectures = {"BaichuanForCausalLM", "BaiChuanForCausalLM"},
       .model_type = "baichuan",
       .qkv_layout = QkvLayout::kConcatenated,
       .qkv = "self_attn.W_pack",
       .head_dim_key = "",
       .kv_heads_key = "",
       .rotation = RotationRule::kNowhere,
       .rope_theta_key = "",
       .alibi_hidden = 5120,
       .normalised_head_vocab = 125696},
  };
  return kRows;
}

// The keys of each way to say how a model rotates, and which of its layers have a window.
std::vector<std::string_view> keys_of(RotationRule rule) {
  switch (rule) {
    case RotationRule::kParameters:
      return {"rope_scaling", "rope_parameters", "partial_rotary_factor"};
    case RotationRule::kScaling:
      return {"rope_scaling"};
    case RotationRule::kRotary:
      return {"rotary"};
    case RotationRule::kFlags:
      return {"use_dynamic_ntk", "use_logn_attn", "rotary_pct"};
    case RotationRule::kNowhere:
      return {};
  }
  return {};
}

std::vector<std::string_view> keys_of(WindowRule rule) {
  switch (rule) {
    case WindowRule::kNever:
      return {};
    case WindowRule::kWhereStated:
      return {"sliding_window", "layer_types"};
    case WindowRule::kWhereUsed:
      return {"sliding_window", "use_sliding_window", "layer_types"};
  }
  return {};
}

}  // namespace

bool has_own_code(const ModelFamily& family) {
  return family.rotation != RotationRule::kParameters;
}

bool reads(const ModelFamily& family, std::string_view key) {
  std::vector<std::string_view> keys = keys_of(family.rotation);
  for (const std::string_view other : keys_of(family.window)) keys.push_back(other);
  keys.insert(keys.end(), {family.head_dim_key, family.kv_heads_key, family.rope_theta_key,
                           family.positions_key, family.bias_key, family.mlp_bias_key});
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

const ModelFamily& find_family(std::string_view architecture, const std::string& origin) {
  std::string known;
  for (const ModelFamily& family : families()) {
    for (const std::string_view name : family.architectures) {
      if (name == architecture) return family;
      known += (known.empty() ? "" : ", ") + std::string(name);
    }
  }
  throw Error(
      concat(origin, ": architectures names '", architecture, "', expected one of ", known));
}

}  // namespace kvcalib
