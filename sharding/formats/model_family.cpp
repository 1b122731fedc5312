// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/model_family.h"

#include <algorithm>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

// Names and flags are those of each family's modeling_*.py and configuration_*.py.
const std::vector<ModelFamily>& families() {
  static const std::vector<ModelFamily> kRows = {
      {.architectures = {"LlamaForCausalLM", "LLaMAForCausalLM"}, .bias_key = "attention_bias"},
      {.architectures = {"MistralForCausalLM"}, .window = WindowRule::kWhereStated},
      {.architectures = {"InternLMForCausalLM"}, .bias_key = "bias", .bias_by_default = true},
      {.architectures = {"InternLM2ForCausalLM"},
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
       .bias_key = "bias",
       .bias_by_default = true},
      {.architectures = {"QWenLMHeadModel"},
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
       .norm_eps_key = "layer_norm_epsilon",
       .rope_theta_key = "rotary_emb_base",
       .positions_key = "seq_length",
       .intermediate_divisor = 2,
       .qkv_bias = true},
      {.architectures = {"Qwen2ForCausalLM"}, .qkv_bias = true, .window = WindowRule::kWhereUsed},
      {.architectures = {"Qwen3ForCausalLM"},
       .query_norm = "self_attn.q_norm",
       .key_norm = "self_attn.k_norm",
       .bias_key = "attention_bias",
       .window = WindowRule::kWhereUsed},
      {.architectures = {"BaichuanForCausalLM", "BaiChuanForCausalLM"},
       .qkv_layout = QkvLayout::kConcatenated,
       .qkv = "self_attn.W_pack",
       .alibi_hidden = 5120,
       .normalised_head_vocab = 125696},
  };
  return kRows;
}

}  // namespace

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
